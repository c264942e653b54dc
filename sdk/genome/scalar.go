package genome

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// scalar appends the value without its tag.
func scalar(b []byte, k Kind, v any, path string) ([]byte, error) {
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	switch {
	case k == Bool:
		if on, ok := v.(bool); ok {
			return protowire.AppendVarint(b, protowire.EncodeBool(on)), nil
		}
		return nil, fmt.Errorf("%s: %s is neither true nor false", path, show(v))
	case k == Duration:
		d, err := time.ParseDuration(text)
		if !isText || err != nil {
			return nil, fmt.Errorf("%s: %s is not a duration such as \"1m30s\"", path, show(v))
		}
		return protowire.AppendVarint(b, protowire.EncodeZigZag(int64(d))), nil
	case k.Signed():
		n, err := strconv.ParseInt(string(number), 10, k.bits())
		if !isNumber || err != nil {
			low := int64(-1) << (k.bits() - 1)
			return nil, notWhole(path, v, err, fmt.Sprintf("%s (%d to %d)", kindNames[k], low, -(low+1)))
		}
		return protowire.AppendVarint(b, protowire.EncodeZigZag(n)), nil
	case k.Unsigned():
		n, err := strconv.ParseUint(string(number), 10, k.bits())
		if !isNumber || err != nil {
			if _, signed := strconv.ParseInt(string(number), 10, 64); signed == nil {
				err = strconv.ErrRange
			}
			return nil, notWhole(path, v, err, fmt.Sprintf("%s (0 to %d)", kindNames[k], uint64(math.MaxUint64)>>(64-k.bits())))
		}
		return protowire.AppendVarint(b, n), nil
	case k == Float32 || k == Float64:
		return float(b, k, v, path)
	case k == String:
		if !isText || !utf8.ValidString(text) {
			return nil, fmt.Errorf("%s: %s is not a text", path, show(v))
		}
		return protowire.AppendString(b, text), nil
	case k == Bytes:
		raw, err := base64.StdEncoding.DecodeString(text)
		if v != nil && (!isText || err != nil) {
			return nil, fmt.Errorf("%s: %s is not base64, in which bytes are written", path, show(v))
		}
		return protowire.AppendBytes(b, raw), nil
	case k == JSON:
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return protowire.AppendBytes(b, raw), nil
	case k == Time:
		t, err := time.Parse(time.RFC3339Nano, text)
		if !isText || err != nil {
			return nil, fmt.Errorf("%s: %s is not a time such as \"2026-01-02T15:04:05Z\"", path, show(v))
		}
		in := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(t.Unix()))
		in = protowire.AppendVarint(protowire.AppendTag(in, 2, protowire.VarintType), uint64(t.Nanosecond()))
		return protowire.AppendBytes(b, in), nil
	}
	return nil, fmt.Errorf("%s: kind %d is not known", path, k)
}

func float(b []byte, k Kind, v any, path string) ([]byte, error) {
	bits := 64
	if k == Float32 {
		bits = 32
	}
	n, err := strconv.ParseFloat(strings.Trim(show(v), `"`), bits)
	if errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%s: %s does not fit %s", path, show(v), kindNames[k])
	}
	if _, isText := v.(string); err != nil || isText && !math.IsNaN(n) && !math.IsInf(n, 0) {
		return nil, fmt.Errorf("%s: %s is not a number", path, quoted(v))
	}
	if bits == 32 {
		return protowire.AppendFixed32(b, math.Float32bits(float32(n))), nil
	}
	return protowire.AppendFixed64(b, math.Float64bits(n)), nil
}

func notWhole(path string, v any, err error, fits string) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s: %s does not fit %s", path, show(v), fits)
	}
	return fmt.Errorf("%s: %s is not a whole number", path, quoted(v))
}

// show is the value as JSON; quoted puts it into quotation marks in any case.
func show(v any) string {
	if n, ok := v.(json.Number); ok {
		return short(string(n))
	}
	data, _ := json.Marshal(v)
	return short(string(data))
}

func quoted(v any) string {
	if n, ok := v.(json.Number); ok {
		return strconv.Quote(short(string(n)))
	}
	return show(v)
}

func wireType(k Kind) protowire.Type {
	switch {
	case k == Float32:
		return protowire.Fixed32Type
	case k == Float64:
		return protowire.Fixed64Type
	case k == Bool || k.Integer():
		return protowire.VarintType
	}
	return protowire.BytesType
}

func appendBytes(b []byte, id uint32, data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, protowire.Number(id), protowire.BytesType), data)
}
