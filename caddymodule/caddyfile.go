package caddymodule

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective(directiveName, parseDirective)
	// So that a site needs no `order`: what isn't ours goes on to reverse_proxy.
	httpcaddyfile.RegisterDirectiveOrder(directiveName, httpcaddyfile.Before, "reverse_proxy")
}

const directiveName = "gitlab_packages"

func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	gitlab_packages [<matcher>] <upstream> {
//		rules 13.5 | current
//		rules {
//			name    <pattern>
//			version <pattern>
//			file    <pattern>
//		}
//		cache [<directory>] {
//			max_size   <size>
//			upload_room <size>
//			memory     <size>
//			max_object <size>
//			max_pinned <size>
//			min_free   <size>
//			verify_every <duration>
//			verify_rate  <size>
//			shared_store s3://<bucket>[/<prefix>] {
//				endpoint   <url>
//				region     <name>
//				access_key <key>
//				secret_key <key>
//				secret     <secret>
//				min_size   <size>
//				direction  both | read | write
//				first_byte <duration>
//				refresh    <duration>
//				transport http { ... }
//			}
//		}
//		max_age           <duration>
//		grant_ttl         <duration>
//		offline_grace     <duration>
//		grant_scope       address | credential
//		projects [on | off] {
//			on  <project> [<other names of it>...]
//			off <project> [<other names of it>...]
//		}
//		api_token         <token>
//		identity_headers  <name>...
//		storage_hosts     <host[:port][?parameter[&parameter]...]>...
//		drop_headers      <name>...
//		range_wait        <size>
//		fetches_per_caller <number>
//		fetch_connections <number>
//		fetch_parallel_from <size>
//		fetch_connections_total <number>
//		header_timeout    <duration>
//		check_timeout     <duration>
//		publish_timeout   <duration>
//		stall_timeout     <duration>
//		retries           <number>
//		forward_other_requests
//		transport http         { ... }
//		storage_transport http { ... }
//	}
//
// on and off may be given many times; everything else once.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if !d.NextArg() {
		return d.Err(noURL)
	}
	h.Upstream = d.Val()
	check := settingsCheck{handler: h}
	check.look(d)
	if d.NextArg() {
		return d.Errf("unexpected %q after the URL; settings go into a block", d.Val())
	}
	if err := parseBlock(d, directiveName, check.afterEach(h.options(&check))); err != nil {
		return err
	}
	return check.found
}

// noURL names the variable that the shipped Caddyfiles have: Caddy has put its value in before the directive is read, so that
// nobody can know any more which one it was.
const noURL = "which GitLab? gitlab_packages needs its URL, such as https://gitlab.example.com. If the line has {$GITLAB_URL}, " +
	"GITLAB_URL is empty: set it for this command as well, which reads the Caddyfile with an environment of its own"

// optionParser reads one option, whose word is the present token.
type optionParser = func(*caddyfile.Dispenser) error

// options are the words of the directive's own block.
func (h *Handler) options(check *settingsCheck) map[string]optionParser {
	return map[string]optionParser{
		"rules":             h.parseRules,
		"cache":             func(d *caddyfile.Dispenser) error { return h.parseCache(d, check) },
		"projects":          h.parseProjects,
		"max_age":           durationOption(func(value caddy.Duration) { h.MaxAge = &value }),
		"grant_ttl":         durationOption(func(value caddy.Duration) { h.GrantTTL = &value }),
		"offline_grace":     durationOption(func(value caddy.Duration) { h.OfflineGrace = &value }),
		"header_timeout":    durationOption(func(value caddy.Duration) { h.HeaderTimeout = &value }),
		"check_timeout":     durationOption(func(value caddy.Duration) { h.CheckTimeout = &value }),
		"publish_timeout":   durationOption(func(value caddy.Duration) { h.PublishTimeout = &value }),
		"stall_timeout":     durationOption(func(value caddy.Duration) { h.StallTimeout = &value }),
		"grant_scope":       textOption(func(value string) { h.GrantScope = value }),
		"api_token":         literalSecretOption("GITLAB_EDGE_TOKEN", &h.APIToken),
		"identity_headers":  listOption(&h.IdentityHeaders),
		"storage_hosts":     listOption(&h.StorageHosts),
		"drop_headers":      listOption(&h.DropHeaders),
		"range_wait":        sizeOption(func(value int64) { h.RangeWait = &value }),
		"retries":           numberOption(func(value int) { h.Retries = &value }),
		"transport":         transportOption(&h.TransportRaw),
		"storage_transport": transportOption(&h.StorageTransportRaw),

		"fetches_per_caller": numberOption(func(value int) { h.FetchesPerCaller = &value }),

		"fetch_connections":       numberOption(func(value int) { h.FetchConnections = &value }),
		"fetch_parallel_from":     sizeOption(func(value int64) { h.FetchParallelFrom = &value }),
		"fetch_connections_total": numberOption(func(value int) { h.FetchConnectionsTotal = &value }),
		"forward_other_requests":  flagOption(func() { h.ForwardOtherRequests = true }),
	}
}

// rulesOptions are the words of the block rules.
func rulesOptions(rules *Rules) map[string]optionParser {
	return map[string]optionParser{
		"name":    textOption(func(value string) { rules.PackageName = value }),
		"version": textOption(func(value string) { rules.PackageVersion = value }),
		"file":    textOption(func(value string) { rules.FileName = value }),
	}
}

// cacheOptions are the words of the block cache.
func cacheOptions(config *Cache) map[string]optionParser {
	return map[string]optionParser{
		"max_size":     positiveSizeOption(func(value int64) { config.MaxSize = value }),
		"upload_room":  sizeOption(func(value int64) { config.UploadRoom = &value }),
		"memory":       sizeOption(func(value int64) { config.Memory = &value }),
		"max_object":   positiveSizeOption(func(value int64) { config.MaxObject = value }),
		"max_pinned":   positiveSizeOption(func(value int64) { config.MaxPinned = value }),
		"min_free":     sizeOption(func(value int64) { config.MinFree = &value }),
		"verify_every": durationOption(func(value caddy.Duration) { config.VerifyEvery = value }),
		"verify_rate":  positiveSizeOption(func(value int64) { config.VerifyRate = value }),
		"shared_store": func(d *caddyfile.Dispenser) error { return parseSharedStore(d, config) },
	}
}

// sharedStoreOptions are the words of the block shared_store.
func sharedStoreOptions(shared *SharedStore) map[string]optionParser {
	return map[string]optionParser{
		"endpoint":   textOption(func(value string) { shared.Endpoint = value }),
		"region":     textOption(func(value string) { shared.Region = value }),
		"access_key": textOption(func(value string) { shared.AccessKey = value }),
		"secret_key": literalSecretOption("S3_SECRET_KEY", &shared.SecretKey),
		"secret":     literalSecretOption("EDGES_SECRET", &shared.Secret),
		"min_size":   sizeOption(func(value int64) { shared.MinSize = &value }),
		"direction":  textOption(func(value string) { shared.Direction = value }),
		"first_byte": durationOption(func(value caddy.Duration) { shared.FirstByte = value }),
		"refresh":    durationOption(func(value caddy.Duration) { shared.Refresh = value }),
		"transport":  transportOption(&shared.TransportRaw),
	}
}

func parseSharedStore(d *caddyfile.Dispenser, config *Cache) error {
	shared := new(SharedStore)
	if !d.NextArg() {
		return d.Err("shared_store needs a bucket, such as s3://packages-edge/prefix")
	}
	shared.URL = d.Val()
	if d.NextArg() {
		return d.Errf("shared_store takes one bucket; %q is one too many", d.Val())
	}
	if err := parseBlock(d, "shared_store", sharedStoreOptions(shared)); err != nil {
		return err
	}
	config.SharedStore = shared
	return nil
}

// parseBlock reads the block after the present line. Each option may stand in it once; a word that isn't an option is
// an error that names the place.
func parseBlock(d *caddyfile.Dispenser, block string, options map[string]optionParser) error {
	seen := make(map[string]bool, len(options))
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		parse, known := options[word]
		if !known {
			return d.Errf("%s has no option %q%s", block, word, whereItBelongs(word))
		}
		if seen[word] {
			return d.Errf("%s is set twice", word)
		}
		seen[word] = true
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// oneArgument reads the only argument of the option on the present line, which must have no block.
func oneArgument(d *caddyfile.Dispenser) (string, error) {
	option := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s needs a value", option)
	}
	value := d.Val()
	if d.NextArg() {
		return "", d.Errf("%s takes one value; %q is one too many", option, d.Val())
	}
	return value, nil
}

func textOption(set func(string)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		value, err := oneArgument(d)
		if err == nil {
			set(value)
		}
		return err
	}
}

// secretOption is textOption for what no error may repeat: where there is a word too many, any of them can be the secret,
// also the first of a block, which is no option.
func secretOption(set func(string)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		given := d.RemainingArgs()
		if len(given) != 1 || given[0] == "{" {
			return d.Errf("%s takes one value, on the same line", option)
		}
		set(given[0])
		return nil
	}
}

// parsedOption is an option with one value, of which parse tells what is wrong with it.
func parsedOption[T any](set func(T), parse func(text string) (T, error)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		text, err := oneArgument(d)
		if err != nil {
			return err
		}
		value, err := parse(text)
		if err != nil {
			return d.Errf("%s: %v", option, err)
		}
		set(value)
		return nil
	}
}

func durationOption(set func(caddy.Duration)) func(*caddyfile.Dispenser) error {
	return parsedOption(set, func(text string) (caddy.Duration, error) {
		value, err := caddy.ParseDuration(text)
		if err != nil || value < 0 {
			return 0, fmt.Errorf("%q is no duration such as 30s or 5m", text)
		}
		return caddy.Duration(value), nil
	})
}

func sizeOption(set func(int64)) func(*caddyfile.Dispenser) error {
	return parsedOption(set, parseSize)
}

// positiveSizeOption is for sizes of which 0 would mean "default" in JSON and "nothing" to a reader.
func positiveSizeOption(set func(int64)) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		zero := false
		err := sizeOption(func(value int64) {
			zero = value == 0
			set(value)
		})(d)
		if err == nil && zero {
			return d.Errf("%s must be more than 0", option)
		}
		return err
	}
}

func numberOption(set func(int)) func(*caddyfile.Dispenser) error {
	return parsedOption(set, func(text string) (int, error) {
		value, err := strconv.Atoi(text)
		if err != nil || value < 0 {
			return 0, fmt.Errorf("%q is no number from 0 up", text)
		}
		return value, nil
	})
}

// flagOption is an option whose word says all.
func flagOption(set func()) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no value; %q is one too many", option, d.Val())
		}
		set()
		return nil
	}
}

func listOption(target *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		*target = d.RemainingArgs()
		if len(*target) == 0 {
			return d.Errf("%s needs at least one value", option)
		}
		return nil
	}
}

// transportOption reads a transport as reverse_proxy does: its name, and a block of its own settings.
func transportOption(target *json.RawMessage) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		if !d.NextArg() {
			return d.Errf("%s needs a name; the only one that works is http", option)
		}
		name := d.Val()
		if name != "http" {
			return d.Errf("%s must be http, not %s", option, name)
		}
		module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+name)
		if err != nil {
			return err
		}
		transport, ok := module.(*reverseproxy.HTTPTransport)
		if !ok {
			return d.Errf("%s must be http, not %T", option, module)
		}
		*target = caddyconfig.JSONModuleObject(transport, "protocol", name, nil)
		return nil
	}
}

func (h *Handler) parseRules(d *caddyfile.Dispenser) error {
	h.Rules = new(Rules)
	if d.NextArg() {
		h.Rules.Version = d.Val()
		if d.NextArg() {
			return d.Errf("rules takes one value; %q is one too many", d.Val())
		}
		if err := h.checkParsedRules(d); err != nil {
			return err
		}
		if nesting := d.Nesting(); d.NextBlock(nesting) {
			return d.Err("rules are either a version of GitLab's or a block of own patterns, not both")
		}
		return nil
	}
	if err := parseBlock(d, "rules", rulesOptions(h.Rules)); err != nil {
		return err
	}
	if *h.Rules == (Rules{}) {
		return d.Err("rules needs 13.5, current, or a block with name, version or file")
	}
	return h.checkParsedRules(d)
}

// checkParsedRules tells at once of rules that can't be; those with placeholders are checked when they are resolved.
func (h *Handler) checkParsedRules(d *caddyfile.Dispenser) error {
	if strings.Contains(h.Rules.Version, "{") || patternPlaceholder.MatchString(h.Rules.PackageName+"\n"+h.Rules.PackageVersion+"\n"+h.Rules.FileName) {
		return nil
	}
	if _, err := h.Rules.provision(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (h *Handler) parseCache(d *caddyfile.Dispenser, check *settingsCheck) error {
	h.Cache = new(Cache)
	if d.NextArg() {
		h.Cache.Directory = d.Val()
		if d.NextArg() {
			return d.Errf("cache takes one directory; %q is one too many", d.Val())
		}
	}
	return parseBlock(d, "cache", check.afterEach(cacheOptions(h.Cache)))
}

func (h *Handler) parseProjects(d *caddyfile.Dispenser) error {
	h.Projects = new(Projects)
	if d.NextArg() {
		h.Projects.Default = d.Val()
		if h.Projects.Default != "on" && h.Projects.Default != "off" && !strings.Contains(h.Projects.Default, "{") {
			return d.Errf("projects are on or off by default, not %q", d.Val())
		}
		if d.NextArg() {
			return d.Errf("projects takes on or off; %q is one too many", d.Val())
		}
	}
	placeholders := strings.Contains(h.Projects.Default, "{")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		names := d.RemainingArgs()
		switch word {
		case "on":
			h.Projects.On = append(h.Projects.On, names)
		case "off":
			h.Projects.Off = append(h.Projects.Off, names)
		default:
			return d.Errf("projects has no option %q; lines begin with on or off%s", word, whereItBelongs(word))
		}
		if len(names) == 0 {
			return d.Errf("%s needs a project: its id or its path, and any other names of it", word)
		}
		if strings.Contains(strings.Join(names, ""), "{") {
			placeholders = true
		}
		if placeholders {
			continue // checked when they are resolved
		}
		if _, err := newConfigSwitches(h.Projects); err != nil {
			return d.Err(err.Error())
		}
	}
	return nil
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
