package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/internal/durable"
)

// Save writes all records to a file, whole or not at all.
func (r *Registry) Save(path string) error {
	var b []byte
	for _, raw := range r.All() {
		b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
		b = append(b, raw...)
	}
	if err := durable.Write(path, b, 0o600); err != nil {
		return fmt.Errorf("save the registry: %w", err)
	}
	return nil
}

// Load takes the records of a file that Save wrote; a file that is not there has none. What was cut off or damaged is left out:
// other machines have it.
func (r *Registry) Load(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load the registry: %w", err)
	}
	var raws [][]byte
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		if n > record.MaxSize || int(n) > len(b)-4 {
			break
		}
		raws, b = append(raws, b[4:4+n]), b[4+n:]
	}
	r.Apply(raws)
	return nil
}
