package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// access is one way to one GitLab: its URL, and the settings of the transports. What is found out about a GitLab by one way,
// such as that it doesn't answer, says nothing about another: a site that trusts a wrong certificate must not stop the
// others.
type access struct {
	upstream string
	// transports stands for the settings of both transports, which may hold secrets.
	transports string
}

func (h *Handler) accessOf() access {
	hash := sha256.New()
	for _, transport := range []json.RawMessage{h.TransportRaw, h.StorageTransportRaw} {
		if !isEmptyObject(transport) {
			_, _ = hash.Write(transport)
		}
		_, _ = hash.Write([]byte{0})
	}
	return access{h.client.Upstream(), hex.EncodeToString(hash.Sum(nil))}
}
