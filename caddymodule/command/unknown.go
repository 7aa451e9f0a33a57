package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// verbDistance is how many letters may be wrong in a verb for another to be suggested.
const verbDistance = 2

// otherWords are what other programs call the verbs.
var otherWords = map[string][]string{
	"disable":  {"off", "stop", "block"},
	"enable":   {"on", "start", "unblock"},
	"entries":  {"list", "ls", "files", "packages"},
	"projects": {"repositories"},
	"purge":    {"delete", "remove", "rm", "clear", "clean", "flush", "evict", "invalidate"},
	"reset":    {"restore", "default"},
	"status":   {"info", "health", "check", "stats"},
	"verify":   {"fsck", "scrub", "validate"},
	"warm":     {"fetch", "prefetch", "preload", "pull", "pin"},
	"unpin":    {"release", "unkeep"},
}

// refuseUnknown makes a verb that there isn't an error that names the nearest one, and adds to the errors of flags where their
// help is. Without it cobra prints the help of all verbs and exits with 0: a script with a slip of the pen would go on.
func refuseUnknown(group *cobra.Command) {
	group.SuggestionsMinimumDistance = verbDistance
	group.DisableFlagsInUseLine = true
	for _, verb := range group.Commands() {
		verb.SuggestFor = otherWords[verb.Name()]
	}
	group.Args = cobra.ArbitraryArgs
	group.RunE = func(group *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return group.Help()
		case args[0] == "help":
			return helpOf(group, args[1:])
		}
		return unknownVerb(group, args[0])
	}
	group.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		// Flags of a verb that there isn't are unknown too, and the verb is what must be mended.
		if args := command.Flags().Args(); command == group && len(args) > 0 {
			return unknownVerb(group, args[0])
		}
		return fmt.Errorf("%w; see %s --help", err, command.CommandPath())
	})
}

// unknownVerb is the error for a verb that there isn't.
func unknownVerb(group *cobra.Command, name string) error {
	nearest := ""
	if suggested := group.SuggestionsFor(name); len(suggested) > 0 {
		nearest = "did you mean " + strings.Join(suggested, " or ") + "? "
	}
	return fmt.Errorf("there is no verb %q; %s%s --help lists all", name, nearest, group.CommandPath())
}

// helpOf prints the help of a verb, or of all if none is named.
func helpOf(group *cobra.Command, args []string) error {
	command, left, err := group.Find(args)
	switch {
	case err != nil:
		return err
	case command == group && len(left) > 0:
		return unknownVerb(group, left[0])
	}
	command.InitDefaultHelpFlag() // which cobra adds to a command that it runs
	return command.Help()
}

// takes is the rule for a verb's arguments, by their names as its help has them: PROJECT must be given, [PACKAGE] may be, and
// there are no more.
func takes(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fmt.Errorf("unknown argument %q; usage: %s", args[len(names)], command.UseLine())
		}
		if len(args) < len(names) && !strings.HasPrefix(names[len(args)], "[") {
			return fmt.Errorf("which %s? usage: %s", strings.ToLower(names[len(args)]), command.UseLine())
		}
		return nil
	}
}

// refuseUnclear returns an error unless either a project or --all is given; which asks for one of them. The API refuses such
// calls as well, and says "all", which is its field.
func (i *invocation) refuseUnclear(all bool, which string) error {
	switch {
	case all && len(i.args) > 0:
		return errors.New("either --all, or a project; not both")
	case !all && len(i.args) == 0:
		return errors.New(which)
	}
	return nil
}
