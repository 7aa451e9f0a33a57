package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// ErrAbsent says that the bucket has no such object.
var ErrAbsent = errors.New("the bucket doesn't have it")

// TroubleError says that the bucket couldn't be asked, or has answered what nobody asked for.
type TroubleError struct {
	// Doing is what was being done.
	Doing string
	// Words say what is wrong, for people.
	Words string
	// Status is the answer's, Code what the storage calls the trouble; 0 and empty where there was no answer.
	Status int
	Code   string
	// SlowDown says that there are too many requests.
	SlowDown bool
	// Err is what it was found by.
	Err error
}

func (e *TroubleError) Error() string { return e.Doing + ": " + e.Words }

func (e *TroubleError) Unwrap() error { return e.Err }

// wordsOfCodes say what the storage's codes mean for who set the bucket up.
var wordsOfCodes = map[string]string{
	"InvalidAccessKeyId":    "the storage doesn't know the access key",
	"SignatureDoesNotMatch": "the secret key is wrong",
	"AccessDenied":          "the key may not do that. It needs s3:GetObject and s3:PutObject for the objects, and s3:ListBucket for the bucket, without which absent objects look forbidden",
	// The file is what its sum says (checked.go).
	"XAmzContentSHA256Mismatch":    "the bytes were changed on their way to the storage",
	"BadDigest":                    "the bytes were changed on their way to the storage",
	"NoSuchBucket":                 "there is no such bucket",
	"PermanentRedirect":            "the bucket is in another region",
	"AuthorizationHeaderMalformed": "the bucket is in another region",
	"ExpiredToken":                 "the credentials have expired, and were renewed for the next request",
	"InvalidToken":                 "the storage doesn't know the session token",
	"QuotaExceeded":                "the bucket is full",
	"XMinioStorageFull":            "the storage is full",
	"InsufficientStorage":          "the storage is full",
	"EntityTooLarge":               "the storage takes no object of that size",
}

// classified returns what an exchange's end means: ErrAbsent, a *TroubleError, or errNotTheBuckets where ctx, who asked, has ended.
// patient is the context that the exchange had.
func (b *Bucket) classified(ctx, patient context.Context, doing string, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrAbsent), errors.Is(err, ErrWrong), errors.Is(err, ErrNoParts):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", doing, errNotTheBuckets, context.Cause(ctx))
	case errors.Is(context.Cause(patient), errStandsStill):
		return &TroubleError{Doing: doing, Words: "the storage doesn't answer", Err: errStandsStill}
	case errors.Is(err, ErrDamagedFile), errors.Is(err, errSource):
		return fmt.Errorf("%s: %w: %w", doing, errNotTheBuckets, err)
	}
	if trouble, ok := errors.AsType[*TroubleError](err); ok {
		return trouble
	}
	if errors.Is(err, errNoKeys) {
		return &TroubleError{Doing: doing, Words: err.Error(), Err: err}
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || answer.StatusCode == 0 {
		return &TroubleError{Doing: doing, Words: "the storage can't be reached: " + err.Error(), Err: err}
	}
	return b.classifiedAnswer(doing, answer)
}

func (b *Bucket) classifiedAnswer(doing string, answer minio.ErrorResponse) error {
	trouble := &TroubleError{Doing: doing, Status: answer.StatusCode, Code: answer.Code, Err: answer}
	switch {
	case answer.Code == "NoSuchKey", answer.StatusCode == http.StatusNotFound && answer.Code != "NoSuchBucket":
		return fmt.Errorf("%s: %w", doing, ErrAbsent)
	case answer.Code == "RequestTimeTooSkewed":
		trouble.Words = "the clocks differ too much: " + b.skewInWords()
	case answer.StatusCode == http.StatusTooManyRequests, answer.Code == "SlowDown", answer.Code == "SlowDownRead", answer.Code == "SlowDownWrite":
		trouble.Words, trouble.SlowDown = "the storage says that there are too many requests", true
	default:
		trouble.Words = wordsOfCodes[answer.Code]
		if trouble.Words == "" {
			trouble.Words = fmt.Sprintf("the storage answered %d %s", answer.StatusCode, answer.Code)
		}
	}
	if answer.Code == "ExpiredToken" || answer.Code == "InvalidToken" {
		b.renewKeys()
	}
	return trouble
}

// renewKeys has the keys renewed for the next request. It waits for nothing, though others may be renewing them.
func (b *Bucket) renewKeys() {
	if !b.renewing.CompareAndSwap(false, true) {
		return
	}
	// Ends when nobody is asking for an identity, which takes a few times identityTimeout at most.
	go func() {
		defer b.renewing.Store(false)
		b.keys.Expire()
	}()
}

// skewInWords says how the storage's clock and ours differ.
func (b *Bucket) skewInWords() string {
	skew := time.Duration(b.skew.Load()).Round(time.Second)
	if skew < 0 {
		return "this machine's is " + (-skew).String() + " ahead of the storage's"
	}
	return "this machine's is " + skew.String() + " behind the storage's"
}
