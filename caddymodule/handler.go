package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is an edge for the generic packages of one GitLab: it checks names, forwards publishes, serves repeat
// downloads from memory and disk to callers whom GitLab allows, and switches projects off. All other requests go on to the next
// handler untouched, or to GitLab (forward_other_requests).
//
// Placeholders such as {env.GITLAB_URL} work in all strings; they are resolved once, when the config is loaded.
type Handler struct {
	// The GitLab to stand in front of, as its users write it: https://gitlab.example.com, with a path if GitLab runs
	// below one. Required.
	Upstream string `json:"upstream,omitempty"`

	// Which package names, versions and file names are legal. Default: those of GitLab 13.5.
	Rules *Rules `json:"rules,omitempty"`

	// Where files are kept, and how many. Handlers that share a directory share its files and must agree on its limits.
	Cache *Cache `json:"cache,omitempty"`

	// For how long an entry is served without asking GitLab again whether it is still the current file.
	// 0 asks for each download. Default: 1m.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// For how long GitLab's yes to a credential is remembered. 0 asks for each download. Default: 1m.
	GrantTTL *caddy.Duration `json:"grant_ttl,omitempty"`

	// For how long that yes counts while GitLab itself is unreachable. At least grant_ttl; 0 never serves without
	// GitLab. Default: 30m.
	OfflineGrace *caddy.Duration `json:"offline_grace,omitempty"`

	// What a grant is bound to besides the credential: "address" (the default) binds it to the caller's IP address too,
	// so that GitLab's allow-lists by address hold; "credential" doesn't, for runners whose address changes all the time.
	GrantScope string `json:"grant_scope,omitempty"`

	// Which projects the edge serves. Default: all.
	Projects *Projects `json:"projects,omitempty"`

	// A GitLab token that may read projects (scope read_api), by which the edge finds out the numeric id and the path
	// that belong together, so that what Projects, or a switch at run time, says of one name holds for the others. While
	// any project is off, a name of which GitLab has never said to which project it belongs is answered 503 until GitLab
	// says so. Default: none; then only names that Projects lists together do. Write a placeholder, such as
	// {env.GITLAB_EDGE_TOKEN}: a token that is written out is shown by the admin API's /config/ and by caddy adapt, which warns
	// of it.
	APIToken string `json:"api_token,omitempty"`

	// Further request headers that tell GitLab, or something in front of it, who asks. They count as part of the
	// credential and are sent on checks and fetches. Default: none.
	IdentityHeaders []string `json:"identity_headers,omitempty"`

	// Hosts (with port where it isn't the usual one) of GitLab's object storage, if its URLs carry no signature of AWS,
	// Google, Azure, Alibaba or Cloudflare. Two URLs name the same object if host, path and the whole query are equal; where
	// the query changes with each signature, say which parameters name the object: `minio.example.com:9000?object`, or
	// `minio.example.com:9000?` for none. Default: none.
	StorageHosts []string `json:"storage_hosts,omitempty"`

	// Request headers that are never passed on, such as the one that your GitLab takes as leave to bypass throttling.
	// `Gitlab-Bypass-Rate-Limiting` is always dropped. Default: none further.
	DropHeaders []string `json:"drop_headers,omitempty"`

	// How many bytes ahead of a file on its way in a Range request may start and still wait for it; one that starts
	// farther ahead is forwarded to GitLab by itself. Default: 8 MiB.
	RangeWait *int64 `json:"range_wait,omitempty"`

	// How many fetches one caller (a credential and an address together) may have under way at a time. One more waits its
	// turn, for 30 seconds at most, and is then forwarded uncached. A fetch that others follow doesn't count. 0 for no bound.
	// Default: 32.
	FetchesPerCaller *int `json:"fetches_per_caller,omitempty"`

	// How many connections bring one large file, where one alone brings it slowly: over a long line a connection has a fraction of what
	// the line has, and object storage caps each. Further ones ask for parts of the file, from where its first answer's bytes don't
	// come soon. They are used only where that answer named the content by a SHA-256 or a strong entity tag. GitLab itself, to which
	// each part is a request, is asked for parts of 64 MiB or more, one after 2 s, and goes on to be asked only if all its bodies
	// together have become faster by a fifth. Parts go by HTTP/1.1; where a transport's `versions` don't have that, there are none.
	// Default: 4; 1 for one connection.
	FetchConnections *int `json:"fetch_connections,omitempty"`

	// How many bytes a file must have at least for that. Default: 64 MiB.
	FetchParallelFrom *int64 `json:"fetch_parallel_from,omitempty"`

	// How many connections all such files together may have to one server. Each file has one, and the same share of the others. Default: 32.
	FetchConnectionsTotal *int `json:"fetch_connections_total,omitempty"`

	// How long GitLab may take to begin its answer to a fetch, a question, or a download that is forwarded. Default: 60s.
	HeaderTimeout *caddy.Duration `json:"header_timeout,omitempty"`

	// The same for the question about a caller whom GitLab has allowed within grant_ttl or offline_grace. All others wait for
	// header_timeout: how long must not tell them what is stored. It must not be more than
	// header_timeout. Default: 60s, or header_timeout if that is less.
	CheckTimeout *caddy.Duration `json:"check_timeout,omitempty"`

	// How long GitLab may take to begin its answer to an upload after the last byte of it, and to any other request that is no
	// download. GitLab works on a large upload after its last byte. An upload without an answer by then gets a
	// 502, and GitLab may have taken the file all the same. Default: 10m.
	PublishTimeout *caddy.Duration `json:"publish_timeout,omitempty"`

	// How long a body from GitLab may stand still before it is given up and asked for again. Default: 30s.
	StallTimeout *caddy.Duration `json:"stall_timeout,omitempty"`

	// How often in a row a body that broke off is asked for again from where it broke. A try that brings 1 MiB or more doesn't
	// count, and the count begins anew after it. 0 never asks again. Default: 5.
	Retries *int `json:"retries,omitempty"`

	// Whether requests that aren't about generic packages go to GitLab, too: its pages, Git, and all other calls of its API. Then
	// no other directive is needed for them, and none behind this one is asked. They go by `transport`, and GitLab is told the
	// same headers as of a package's request. Bodies pass as they come in both directions, and answers are never kept. Only a
	// GET, HEAD, OPTIONS or TRACE may be sent twice, where a kept connection closes without a byte of answer. The answer is
	// awaited for publish_timeout. A redirect to GitLab by the host of `upstream` leads to the edge. WebSockets pass over
	// HTTP/1.1, and outlive a reload. What isn't below the path of `upstream` is answered 404.
	// Default: false; they are the next handler's, such as reverse_proxy.
	ForwardOtherRequests bool `json:"forward_other_requests,omitempty"`

	// The transport to GitLab: Caddy's `http` transport with all its settings, except the PROXY protocol and request
	// placeholders, since files are also fetched when no request is there any more.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// The transport to GitLab's object storage. Default: Caddy's `http` transport as it comes; it has nothing of the
	// transport to GitLab, so that no client certificate meant for GitLab is shown to others.
	StorageTransportRaw json.RawMessage `json:"storage_transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	process *processWide
	// usesWorkers says that Cleanup has to end that.
	usesWorkers bool
	logger      *zap.Logger
	server      *caddyhttp.Server // nil if unknown
	rules       *upstream.Rules
	switches    *configSwitches
	client      *upstream.Client
	aliases     *upstream.Aliases
	// aliasTrouble keeps the log readable while GitLab doesn't say which names belong together.
	aliasTrouble *rate.Sometimes
	transports   *transports
	shared       *sharedStore // nil for none
	access       access
	app          *App
	attachment   *attachment
	metrics      *metrics
	// Settings with their defaults filled in.
	maxAge, grantTTL, offlineGrace time.Duration
	rangeWait                      int64
	fetchesPerCaller               int
	fetchConnections               int
	fetchConnectionsTotal          int
	fetchParallelFrom              int64
}

// Defaults of Handler and Cache.
const (
	defaultRules        = "13.5"
	defaultMaxAge       = time.Minute
	defaultGrantTTL     = time.Minute
	defaultOfflineGrace = 30 * time.Minute
	defaultMaxSize      = 10 << 30
	defaultMemory       = 256 << 20
	defaultMinFree      = 1 << 30
	defaultVerifyRate   = 50 << 20
	defaultRangeWait    = 8 << 20
	defaultRetries      = 5
	defaultFetches      = 32 // for each caller

	defaultFetchConnections      = 4
	defaultFetchConnectionsTotal = 32
	defaultFetchParallelFrom     = 64 << 20

	maxFetchConnections = 64
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.gitlab_packages",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the settings and loads the transports. It opens nothing and changes nothing that a running edge
// holds, since `caddy validate`, and a reload that fails later, provision handlers too; the store is opened when the
// app starts (see App).
func (h *Handler) Provision(ctx caddy.Context) error {
	h.process = process
	h.process.workers.use()
	h.usesWorkers = true
	h.logger, h.server = limited(ctx.Logger()), serverOf(ctx)
	rememberConnections(h.server)
	// Taken first: contexts derived from ctx have a registry of their own that nobody scrapes.
	h.metrics = h.process.metrics
	h.metrics.register(ctx.GetMetricsRegistry())
	if err := h.replacePlaceholders(); err != nil {
		return err
	}
	base, err := h.provisionSettings()
	if err != nil {
		return err
	}
	settings, directory, err := h.provisionCache()
	if err != nil {
		return err
	}
	h.warnOfSmallMemory(settings)
	if h.rules, err = h.Rules.provision(); err != nil {
		return err
	}
	if h.switches, err = newConfigSwitches(h.Projects); err != nil {
		return err
	}
	if h.transports, err = loadTransports(ctx, h); err != nil {
		return err
	}
	h.client, err = upstream.NewClient(upstream.Config{
		Base:             base,
		Transport:        h.transports.gitlab,
		StorageTransport: h.transports.storage,
		PartTransport:    h.transports.gitlabParts, PartStorageTransport: h.transports.storageParts,
		StorageHosts:   h.StorageHosts,
		HeaderTimeout:  orDefault(h.HeaderTimeout),
		CheckTimeout:   cmp.Or(orDefault(h.CheckTimeout), h.process.checkTimeout),
		PublishTimeout: orDefault(h.PublishTimeout),
		StallTimeout:   orDefault(h.StallTimeout),
		Retries:        *h.Retries,
		Now:            h.process.clock,
		MaxConnections: h.transports.maxConnections,
		Hold: func() (release func()) {
			h.transports.hold()
			return h.transports.release
		},
	})
	if err != nil {
		return err
	}
	if err := h.openShared(); err != nil {
		return err
	}
	h.access = h.accessOf()
	if h.APIToken != "" {
		h.provisionAliases()
	}
	app, err := ctx.App(appName)
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.attachment, err = h.app.attach(directory, settings, h)
	return err
}

// replacePlaceholders resolves the placeholders of all strings, once.
func (h *Handler) replacePlaceholders() error {
	replacer := caddy.NewReplacer()
	texts := []*string{&h.Upstream, &h.GrantScope, &h.APIToken}
	if h.Cache != nil {
		texts = append(texts, &h.Cache.Directory)
		if shared := h.Cache.SharedStore; shared != nil {
			texts = append(texts, &shared.URL, &shared.Endpoint, &shared.Region, &shared.AccessKey, &shared.SecretKey, &shared.Secret, &shared.Direction)
		}
	}
	if h.Rules != nil {
		texts = append(texts, &h.Rules.Version)
		if err := h.Rules.replaceInPatterns(replacer); err != nil {
			return err
		}
	}
	for _, list := range [][]string{h.IdentityHeaders, h.StorageHosts, h.DropHeaders} {
		for i := range list {
			texts = append(texts, &list[i])
		}
	}
	if h.Projects != nil {
		texts = append(texts, &h.Projects.Default)
		for _, list := range [][][]string{h.Projects.On, h.Projects.Off} {
			for _, names := range list {
				for i := range names {
					texts = append(texts, &names[i])
				}
			}
		}
	}
	for _, text := range texts {
		// An unknown or empty placeholder is an error: an upstream or a token that is silently empty would be found out
		// much later. The text isn't repeated, since it may be the token.
		replaced, err := replacer.ReplaceOrErr(*text, true, true)
		if err != nil {
			return fmt.Errorf("resolving placeholders: %w", err)
		}
		*text = replaced
	}
	return nil
}

// provisionSettings checks the handler's own settings, fills in the defaults, and returns the upstream's URL.
func (h *Handler) provisionSettings() (*url.URL, error) {
	if h.Upstream == "" {
		return nil, errors.New("which GitLab? upstream is required, such as https://gitlab.example.com")
	}
	base, err := url.Parse(h.Upstream)
	if err != nil {
		return nil, fmt.Errorf("the upstream must be a URL such as https://gitlab.example.com: %w", errors.Unwrap(err))
	}
	if err := upstream.CheckBase(base); err != nil {
		return nil, err
	}
	durations := []struct {
		name    string
		setting *caddy.Duration
		target  *time.Duration
		preset  time.Duration
	}{
		{"max_age", h.MaxAge, &h.maxAge, defaultMaxAge},
		{"grant_ttl", h.GrantTTL, &h.grantTTL, defaultGrantTTL},
		{"offline_grace", h.OfflineGrace, &h.offlineGrace, defaultOfflineGrace},
	}
	for _, d := range durations {
		*d.target = d.preset
		if d.setting != nil {
			*d.target = time.Duration(*d.setting)
		}
		if *d.target < 0 {
			return nil, fmt.Errorf("%s must not be negative", d.name)
		}
	}
	if h.offlineGrace != 0 && h.offlineGrace < h.grantTTL {
		if h.OfflineGrace != nil {
			return nil, fmt.Errorf("offline_grace (%s) must be 0 or at least grant_ttl (%s)", h.offlineGrace, h.grantTTL)
		}
		h.offlineGrace = h.grantTTL
	}
	switch h.GrantScope {
	case "":
		h.GrantScope = grantScopeAddress
	case grantScopeAddress, grantScopeCredential:
	default:
		return nil, fmt.Errorf("grant_scope is %q; it must be %s or %s", h.GrantScope, grantScopeAddress, grantScopeCredential)
	}
	h.rangeWait = defaultRangeWait
	if h.RangeWait != nil {
		h.rangeWait = *h.RangeWait
	}
	if h.Retries == nil {
		retries := defaultRetries
		h.Retries = &retries
	}
	h.fetchesPerCaller = defaultFetches
	if h.FetchesPerCaller != nil {
		h.fetchesPerCaller = *h.FetchesPerCaller
	}
	if h.fetchesPerCaller < 0 {
		return nil, errors.New("fetches_per_caller must not be negative")
	}
	if h.rangeWait < 0 || *h.Retries < 0 {
		return nil, errors.New("range_wait and retries must not be negative")
	}
	if err := h.provisionParts(); err != nil {
		return nil, err
	}
	if err := h.checkTimeouts(); err != nil {
		return nil, err
	}
	return base, h.checkNames()
}

// provisionParts checks the settings for files that several connections bring, and fills in the defaults.
func (h *Handler) provisionParts() error {
	h.fetchConnections, h.fetchConnectionsTotal, h.fetchParallelFrom = defaultFetchConnections, defaultFetchConnectionsTotal, defaultFetchParallelFrom
	if h.FetchConnections != nil {
		h.fetchConnections = *h.FetchConnections
	}
	if h.FetchConnectionsTotal != nil {
		h.fetchConnectionsTotal = *h.FetchConnectionsTotal
	}
	if h.FetchParallelFrom != nil {
		h.fetchParallelFrom = *h.FetchParallelFrom
	}
	switch {
	case h.fetchConnections < 1 || h.fetchConnections > maxFetchConnections:
		return fmt.Errorf("fetch_connections must be a number from 1 to %d", maxFetchConnections)
	case h.fetchConnectionsTotal < 1:
		return errors.New("fetch_connections_total must be at least 1")
	case h.fetchParallelFrom < 0:
		return errors.New("fetch_parallel_from must not be negative")
	}
	return nil
}

// edgesOwnHeaders can't tell who asks: the edge sets them itself on checks and fetches, or they would change what comes.
var edgesOwnHeaders = []string{
	"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Accept-Encoding", "Connection",
	"Content-Length", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Proto", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
}

// checkNames refuses header names and hosts that could not do what they are there for.
func (h *Handler) checkNames() error {
	if err := checkHeaderNames(slices.Concat(h.IdentityHeaders, h.DropHeaders)); err != nil {
		return err
	}
	for _, name := range h.IdentityHeaders {
		if slices.Contains(edgesOwnHeaders, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("identity_headers: %s can't tell who asks", name)
		}
		if !upstream.PassesForward(http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("identity_headers: %s never reaches GitLab, since a caller could say anything in it", name)
		}
		if slices.ContainsFunc(h.DropHeaders, func(other string) bool { return strings.EqualFold(name, other) }) {
			return fmt.Errorf("%s can't be both in identity_headers and in drop_headers", name)
		}
	}
	for _, name := range h.DropHeaders {
		if slices.Contains(upstream.CarrierHeaders, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("drop_headers: without %s, GitLab would not know who asks", name)
		}
	}
	for _, host := range h.StorageHosts {
		if _, err := upstream.ParseStorageHost(host); err != nil {
			return fmt.Errorf("storage_hosts: %q: %w", host, err)
		}
	}
	return nil
}

// Values of Handler.GrantScope.
const (
	grantScopeAddress    = "address"
	grantScopeCredential = "credential"
)

func (r *Rules) provision() (*upstream.Rules, error) {
	if r == nil {
		return upstream.RulesFor135(), nil
	}
	patterns := r.PackageName != "" || r.PackageVersion != "" || r.FileName != ""
	switch {
	case patterns && r.Version != "":
		return nil, errors.New("rules are either a version of GitLab's or own patterns, not both")
	case patterns:
		rules, err := upstream.CustomRules(r.PackageName, r.PackageVersion, r.FileName)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		return rules, nil
	case r.Version == "" || r.Version == defaultRules:
		return upstream.RulesFor135(), nil
	case r.Version == "current":
		return upstream.RulesCurrent(), nil
	}
	return nil, fmt.Errorf("there are no rules %q; there are 13.5, current, and own patterns", r.Version)
}

// checkHeaderNames refuses names that no header can have.
func checkHeaderNames(names []string) error {
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%q is no header name", name)
		}
	}
	return nil
}

// Cleanup gives the transports back. Requests of this handler may still be served, and its fills go on: they hold
// the transports themselves.
func (h *Handler) Cleanup() error {
	if h.usesWorkers {
		h.usesWorkers = false
		h.process.workers.release()
	}
	if h.transports != nil {
		h.transports.release()
	}
	return h.releaseAliases()
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ http.RoundTripper           = isolatedTransport{}
)
