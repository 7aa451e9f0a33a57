// Package bucket lets edges share bytes through object storage by the S3 API. It knows neither Caddy nor GitLab, and decides no
// right: what is in the bucket is bytes under the names of their sums, for whoever may have them by other means.
//
// The objects of a bucket, below its prefix (object.go):
//
//	blobs/ab/ab12…         the bytes whose SHA-256 is ab12…
//	locations/4f…          which bytes a place elsewhere holds that names no sum itself: sealed, and useless without the
//	                       edges' secret (location.go, seal.go)
//
// One file at a time:
//
//   - What the bucket is, and how it is asked: bucket.go; as whom: credentials.go.
//   - Reading an object from any byte on: read.go. What is absent, and what has proved to be wrong, isn't asked for again for a
//     while (memory.go).
//   - Writing one, if it isn't there yet: write.go, whose bytes are compared with their name on the way (checked.go).
//   - Trouble is told in words (trouble.go), ends all asking for a while (health.go), and a bucket that says "slow down" is left
//     alone (health.go).
//
// Nothing here deletes an object: that is the bucket's life-cycle rule's matter. What is still wanted is written anew before that.
package bucket
