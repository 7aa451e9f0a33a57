// Package charttest checks deploy/helm: what Helm renders is what Kubernetes' own types understand, and the Caddyfile in it
// is one that the edge starts with. It is a module of its own, so that the edge doesn't depend on Kubernetes.
package charttest
