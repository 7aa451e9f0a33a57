package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// settingsCheck finds settings that are wrong, or make no sense together, so that `caddy adapt` tells of them, with the line that
// made them so. All is looked at again after each line: a later one may put right what an earlier one left open, such as
// max_size after max_object.
type settingsCheck struct {
	handler *Handler
	// found is what is wrong with all that has been read, with the line after which that was so first; nil for nothing.
	found error
	text  string
}

// look takes in the line that was just read.
func (c *settingsCheck) look(d *caddyfile.Dispenser) {
	switch err := c.handler.checkParsed(); {
	case err == nil:
		c.found, c.text = nil, ""
	case err.Error() != c.text:
		c.found, c.text = d.WrapErr(err), err.Error()
	}
}

// afterEach has the check look after each of the options.
func (c *settingsCheck) afterEach(options map[string]optionParser) map[string]optionParser {
	for word, parse := range options {
		options[word] = func(d *caddyfile.Dispenser) error {
			err := parse(d)
			if err == nil {
				c.look(d)
			}
			return err
		}
	}
	return options
}

// checkParsed says what is wrong with the settings. What a placeholder hides is checked when the config is loaded.
func (h *Handler) checkParsed() error {
	probe := *h
	if strings.Contains(probe.Upstream, "{") {
		probe.Upstream = "https://placeholder.invalid"
	}
	if strings.Contains(probe.GrantScope+strings.Join(slices.Concat(probe.IdentityHeaders, probe.DropHeaders, probe.StorageHosts), ""), "{") {
		probe.GrantScope, probe.IdentityHeaders, probe.DropHeaders, probe.StorageHosts = "", nil, nil, nil
	}
	if probe.Cache != nil && probe.Cache.SharedStore != nil {
		config := *probe.Cache
		config.SharedStore = config.SharedStore.withoutPlaceholders()
		probe.Cache = &config
	}
	if _, err := probe.provisionSettings(); err != nil {
		return err
	}
	_, _, err := probe.provisionCache()
	return err
}

// whereItBelongs says in which blocks a word of the directive may stand, to be put behind an error; empty for a word that may
// stand in none.
func whereItBelongs(word string) string {
	places := []struct {
		block string
		has   bool
	}{
		{"the block of " + directiveName, has(new(Handler).options(nil), word)},
		{"cache { }", has(cacheOptions(new(Cache)), word)},
		{"shared_store { }", has(sharedStoreOptions(new(SharedStore)), word)},
		{"rules { }", has(rulesOptions(new(Rules)), word)},
		{"projects { }", word == "on" || word == "off"},
	}
	for _, place := range places {
		if place.has {
			return "; " + word + " belongs into " + place.block
		}
	}
	return ""
}

func has(options map[string]optionParser, word string) bool {
	_, known := options[word]
	return known
}
