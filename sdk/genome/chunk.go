package genome

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// chunk is one appearance of a field in a message.
type chunk struct {
	kind protowire.Type
	num  uint64
	data []byte
}

// split takes a message apart; what is unknown stays unread.
func split(data []byte) (map[uint32][]chunk, error) {
	all := map[uint32][]chunk{}
	for len(data) > 0 {
		id, kind, n := protowire.ConsumeTag(data)
		if n < 0 || id > protowire.MaxValidNumber {
			return nil, errors.New("the data is damaged")
		}
		data = data[n:]
		c := chunk{kind: kind}
		switch kind {
		case protowire.VarintType:
			c.num, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			c.num = uint64(v)
		case protowire.Fixed64Type:
			c.num, n = protowire.ConsumeFixed64(data)
		case protowire.BytesType:
			c.data, n = protowire.ConsumeBytes(data)
		default:
			return nil, errors.New("the data is damaged")
		}
		if n < 0 {
			return nil, errors.New("the data is cut short")
		}
		data = data[n:]
		all[uint32(id)] = append(all[uint32(id)], c)
	}
	return all, nil
}

// join makes one message of several appearances, as protobuf demands.
func join(cs []chunk, path string) ([]byte, error) {
	var data []byte
	for i, c := range cs {
		switch {
		case c.kind != protowire.BytesType:
			return nil, wrong(path, "it has another type")
		case i == 0:
			data = c.data[:len(c.data):len(c.data)]
		default:
			data = append(data, c.data...)
		}
		if len(cs) > 1 { // a field may not begin in one appearance and end in the next
			if _, err := split(c.data); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return data, nil
}

// last returns the last appearance of a scalar, or zero; the others must be right too, as generated code reads them all.
func last(k Kind, cs []chunk) (text []byte, err error) {
	if len(cs) == 0 {
		cs = []chunk{{kind: wireType(k)}}
	}
	for _, c := range cs {
		if text, err = scalarJSON(k, c); err != nil {
			return nil, err
		}
	}
	return text, nil
}

func scalarJSON(k Kind, c chunk) ([]byte, error) {
	if c.kind != wireType(k) {
		return nil, errors.New("it has another type")
	}
	switch {
	case k == Bool:
		return strconv.AppendBool(nil, c.num != 0), nil
	case k == Duration:
		return quote(time.Duration(protowire.DecodeZigZag(c.num)).String()), nil
	case k.Signed():
		v := protowire.DecodeZigZag(c.num)
		if shift := 64 - k.bits(); v<<shift>>shift != v {
			return nil, fmt.Errorf("%d does not fit %s", v, kindNames[k])
		}
		return strconv.AppendInt(nil, v, 10), nil
	case k.Unsigned():
		if shift := 64 - k.bits(); c.num<<shift>>shift != c.num {
			return nil, fmt.Errorf("%d does not fit %s", c.num, kindNames[k])
		}
		return strconv.AppendUint(nil, c.num, 10), nil
	case k == Float32:
		return number(float64(math.Float32frombits(uint32(c.num))), 32), nil
	case k == Float64:
		return number(math.Float64frombits(c.num), 64), nil
	case k == JSON && len(c.data) == 0:
		return []byte("null"), nil
	case k == JSON:
		var b bytes.Buffer
		if !utf8.Valid(c.data) || json.Compact(&b, c.data) != nil {
			return nil, errors.New("it is not JSON")
		}
		return b.Bytes(), nil
	case k == Bytes:
		return quote(base64.StdEncoding.EncodeToString(c.data)), nil
	}
	if !utf8.Valid(c.data) {
		return nil, errors.New("it is not UTF-8 text")
	}
	return quote(string(c.data)), nil
}

func number(v float64, bits int) []byte {
	text := strconv.AppendFloat(nil, v, 'g', -1, bits)
	if math.IsNaN(v) || math.IsInf(v, 0) { // JSON has no number for these
		return quote(string(text))
	}
	return text
}

func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return bytes.TrimRight(b.Bytes(), "\n")
}
