package upstream

import "time"

// AwaitAnswersFor has a body that no 100 has asked for wait longer for an answer that is on its way, on a slow machine.
func (c *Client) AwaitAnswersFor(grace time.Duration) { c.answerGrace = grace }
