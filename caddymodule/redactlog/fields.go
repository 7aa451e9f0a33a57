package redactlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// redactedObject hands the fields that are added to it on to another object, redacted.
type redactedObject struct {
	to     zapcore.ObjectEncoder
	hidden *upstream.Redactor
	// all says that a namespace was opened whose own name is hidden: all that follows stands in it.
	all bool
}

// hides reports whether a field must not be shown, and then adds it hidden.
func (o *redactedObject) hides(key string) bool {
	if !o.all && !o.hidden.Hides(key) {
		return false
	}
	o.to.AddString(o.hidden.Redact(key), upstream.Redacted)
	return true
}

// hidesNumber is hides for values that hold no text.
func (o *redactedObject) hidesNumber(key string) bool {
	return (o.all || o.hidden.HidesNumber(key)) && o.hides(key)
}

// AddString adds a text without the secrets in it.
func (o *redactedObject) AddString(key, value string) {
	if !o.hides(key) {
		o.to.AddString(o.hidden.Redact(key), o.hidden.Redact(value))
	}
}

// AddByteString adds a text without the secrets in it.
func (o *redactedObject) AddByteString(key string, value []byte) {
	if !o.hides(key) {
		o.to.AddByteString(o.hidden.Redact(key), redactBytes(value, o.hidden))
	}
}

// AddBinary adds bytes without the secrets in them, if they are text.
func (o *redactedObject) AddBinary(key string, value []byte) {
	if !o.hides(key) {
		o.to.AddBinary(o.hidden.Redact(key), redactBytes(value, o.hidden))
	}
}

func redactBytes(value []byte, hidden *upstream.Redactor) []byte {
	return []byte(hidden.Redact(string(value)))
}

// AddArray adds a list without the secrets in it. A hidden one has one element.
func (o *redactedObject) AddArray(key string, list zapcore.ArrayMarshaler) error {
	if o.all || o.hidden.Hides(key) {
		return o.to.AddArray(o.hidden.Redact(key), hiddenList{})
	}
	return o.to.AddArray(o.hidden.Redact(key), redactedArrayMarshaler{list, o.hidden})
}

// AddObject adds an object without the secrets in it.
func (o *redactedObject) AddObject(key string, object zapcore.ObjectMarshaler) error {
	if o.hides(key) {
		return nil
	}
	return o.to.AddObject(o.hidden.Redact(key), redactedObjectMarshaler{object, o.hidden})
}

// AddReflected adds a value of any type as JSON shows it, without the secrets in it. What JSON can't show is an error.
func (o *redactedObject) AddReflected(key string, value any) error {
	decoded, err := throughJSON(value)
	_, isNumber := decoded.(json.Number)
	if o.all || o.hidden.HidesNumber(key) || (!isNumber && o.hidden.Hides(key)) {
		return o.to.AddReflected(o.hidden.Redact(key), hiddenInPlaceOf(decoded))
	}
	if err != nil {
		return err
	}
	return o.to.AddReflected(o.hidden.Redact(key), redactDecoded(decoded, o.hidden))
}

// throughJSON returns a value as encoding/json shows it to the rest of the world: made of maps, lists and texts, in which
// secrets can be found whatever the value's type. Numbers stay exact.
func throughJSON(value any) (decoded any, err error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("logging a %T: %w", value, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	if err := decoder.Decode(&decoded); err != nil {
		return nil, fmt.Errorf("logging a %T: %w", value, err)
	}
	return decoded, nil
}

// OpenNamespace begins an object that all fields to come stand in.
func (o *redactedObject) OpenNamespace(key string) {
	o.all = o.all || o.hidden.Hides(key)
	o.to.OpenNamespace(o.hidden.Redact(key))
}

// AddBool adds a value that holds no text.
func (o *redactedObject) AddBool(key string, value bool) {
	if !o.hidesNumber(key) {
		o.to.AddBool(o.hidden.Redact(key), value)
	}
}

// AddComplex128 adds a value that holds no text.
func (o *redactedObject) AddComplex128(key string, value complex128) {
	if !o.hidesNumber(key) {
		o.to.AddComplex128(o.hidden.Redact(key), value)
	}
}

// AddComplex64 adds a value that holds no text.
func (o *redactedObject) AddComplex64(key string, value complex64) {
	if !o.hidesNumber(key) {
		o.to.AddComplex64(o.hidden.Redact(key), value)
	}
}

// AddDuration adds a value that holds no text.
func (o *redactedObject) AddDuration(key string, value time.Duration) {
	if !o.hidesNumber(key) {
		o.to.AddDuration(o.hidden.Redact(key), value)
	}
}

// AddFloat64 adds a value that holds no text.
func (o *redactedObject) AddFloat64(key string, value float64) {
	if !o.hidesNumber(key) {
		o.to.AddFloat64(o.hidden.Redact(key), value)
	}
}

// AddFloat32 adds a value that holds no text.
func (o *redactedObject) AddFloat32(key string, value float32) {
	if !o.hidesNumber(key) {
		o.to.AddFloat32(o.hidden.Redact(key), value)
	}
}

// AddInt adds a value that holds no text.
func (o *redactedObject) AddInt(key string, value int) {
	if !o.hidesNumber(key) {
		o.to.AddInt(o.hidden.Redact(key), value)
	}
}

// AddInt64 adds a value that holds no text.
func (o *redactedObject) AddInt64(key string, value int64) {
	if !o.hidesNumber(key) {
		o.to.AddInt64(o.hidden.Redact(key), value)
	}
}

// AddInt32 adds a value that holds no text.
func (o *redactedObject) AddInt32(key string, value int32) {
	if !o.hidesNumber(key) {
		o.to.AddInt32(o.hidden.Redact(key), value)
	}
}

// AddInt16 adds a value that holds no text.
func (o *redactedObject) AddInt16(key string, value int16) {
	if !o.hidesNumber(key) {
		o.to.AddInt16(o.hidden.Redact(key), value)
	}
}

// AddInt8 adds a value that holds no text.
func (o *redactedObject) AddInt8(key string, value int8) {
	if !o.hidesNumber(key) {
		o.to.AddInt8(o.hidden.Redact(key), value)
	}
}

// AddTime adds a value that holds no text.
func (o *redactedObject) AddTime(key string, value time.Time) {
	if !o.hidesNumber(key) {
		o.to.AddTime(o.hidden.Redact(key), value)
	}
}

// AddUint adds a value that holds no text.
func (o *redactedObject) AddUint(key string, value uint) {
	if !o.hidesNumber(key) {
		o.to.AddUint(o.hidden.Redact(key), value)
	}
}

// AddUint64 adds a value that holds no text.
func (o *redactedObject) AddUint64(key string, value uint64) {
	if !o.hidesNumber(key) {
		o.to.AddUint64(o.hidden.Redact(key), value)
	}
}

// AddUint32 adds a value that holds no text.
func (o *redactedObject) AddUint32(key string, value uint32) {
	if !o.hidesNumber(key) {
		o.to.AddUint32(o.hidden.Redact(key), value)
	}
}

// AddUint16 adds a value that holds no text.
func (o *redactedObject) AddUint16(key string, value uint16) {
	if !o.hidesNumber(key) {
		o.to.AddUint16(o.hidden.Redact(key), value)
	}
}

// AddUint8 adds a value that holds no text.
func (o *redactedObject) AddUint8(key string, value uint8) {
	if !o.hidesNumber(key) {
		o.to.AddUint8(o.hidden.Redact(key), value)
	}
}

// AddUintptr adds a value that holds no text.
func (o *redactedObject) AddUintptr(key string, value uintptr) {
	if !o.hidesNumber(key) {
		o.to.AddUintptr(o.hidden.Redact(key), value)
	}
}

// redactedArray hands the elements that are added to it on to another list, redacted. Those that hold no text need
// nothing done.
type redactedArray struct {
	zapcore.ArrayEncoder
	hidden *upstream.Redactor
}

// AppendString appends a text without the secrets in it.
func (a redactedArray) AppendString(value string) {
	a.ArrayEncoder.AppendString(a.hidden.Redact(value))
}

// AppendByteString appends a text without the secrets in it.
func (a redactedArray) AppendByteString(value []byte) {
	a.ArrayEncoder.AppendByteString(redactBytes(value, a.hidden))
}

// AppendArray appends a list without the secrets in it.
func (a redactedArray) AppendArray(list zapcore.ArrayMarshaler) error {
	return a.ArrayEncoder.AppendArray(redactedArrayMarshaler{list, a.hidden})
}

// AppendObject appends an object without the secrets in it.
func (a redactedArray) AppendObject(object zapcore.ObjectMarshaler) error {
	return a.ArrayEncoder.AppendObject(redactedObjectMarshaler{object, a.hidden})
}

// AppendReflected appends a value of any type as JSON shows it, without the secrets in it.
func (a redactedArray) AppendReflected(value any) error {
	decoded, err := throughJSON(value)
	if err != nil {
		return err
	}
	return a.ArrayEncoder.AppendReflected(redactDecoded(decoded, a.hidden))
}

// redactedObjectMarshaler is an object that shows no secret to whoever encodes it.
type redactedObjectMarshaler struct {
	object zapcore.ObjectMarshaler
	hidden *upstream.Redactor
}

// MarshalLogObject adds the object's fields, redacted.
func (m redactedObjectMarshaler) MarshalLogObject(to zapcore.ObjectEncoder) error {
	return m.object.MarshalLogObject(&redactedObject{to: to, hidden: m.hidden})
}

// redactedArrayMarshaler is a list that shows no secret to whoever encodes it.
type redactedArrayMarshaler struct {
	list   zapcore.ArrayMarshaler
	hidden *upstream.Redactor
}

// MarshalLogArray appends the list's elements, redacted.
func (m redactedArrayMarshaler) MarshalLogArray(to zapcore.ArrayEncoder) error {
	return m.list.MarshalLogArray(redactedArray{to, m.hidden})
}

// hiddenList stands for a list that nobody may see.
type hiddenList struct{}

// MarshalLogArray appends the only element.
func (hiddenList) MarshalLogArray(to zapcore.ArrayEncoder) error {
	to.AppendString(upstream.Redacted)
	return nil
}
