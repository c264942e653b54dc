package imager

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-network/cell/internal/spdx"
)

// bomSuffix is what the bill of materials of the outputs has behind the name of the first one.
const bomSuffix = ".spdx.json"

// bill lists what is inside of an image: the distribution's packages, and Cell with the modules of its programs. image is the path of what
// firmware starts, which the document's name follows from.
func bill(version uint64, base, image string) ([]byte, error) {
	list, err := os.ReadFile(filepath.Join(base, inside))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(base, insideCell))
	if err != nil {
		return nil, err
	}
	var cell spdx.Document
	if err := json.Unmarshal(own, &cell); err != nil {
		return nil, fmt.Errorf("read Cell's bill of materials: %w", err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		return nil, err
	}
	const self = "SPDXRef-image"
	name := fmt.Sprintf("cell-donor-%d", version)
	created := cell.CreationInfo.Created
	if created == "" {
		created = time.Unix(0, 0).UTC().Format(time.RFC3339)
	}
	sum := sha256.Sum256(b)
	doc := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXID: spdx.Self, Name: name,
		DocumentNamespace: fmt.Sprintf("%s%s-%x", spdx.Namespace, name, sum[:8]),
		CreationInfo:      spdx.Creation{Created: created, Creators: []string{"Tool: cell image build"}},
		Packages: []spdx.Package{{
			Name: "cell-donor", SPDXID: self, VersionInfo: fmt.Sprint(version), DownloadLocation: "NOASSERTION", LicenseConcluded: "NOASSERTION", LicenseDeclared: "NOASSERTION",
			Checksums: []spdx.Checksum{{Algorithm: "SHA256", Value: fmt.Sprintf("%x", sum)}},
		}},
		Relationships: []spdx.Relationship{{Element: spdx.Self, Type: "DESCRIBES", Related: self}},
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("the list of packages has %q", line)
		}
		if f[0] == "cell" { // it says itself what is in it
			continue
		}
		id := spdx.ID("deb-" + f[0])
		doc.Packages = append(doc.Packages, spdx.Package{
			Name: f[0], SPDXID: id, VersionInfo: f[1], DownloadLocation: "NOASSERTION", LicenseConcluded: "NOASSERTION", LicenseDeclared: "NOASSERTION",
			ExternalRefs: []spdx.Ref{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: "pkg:deb/debian/" + f[0] + "@" + f[1] + "?arch=" + f[2]}},
		})
		doc.Relationships = append(doc.Relationships, spdx.Relationship{Element: self, Type: "CONTAINS", Related: id})
	}
	doc.Packages = append(doc.Packages, cell.Packages...)
	for _, r := range cell.Relationships {
		if r.Element == spdx.Self {
			r.Element, r.Type = self, "CONTAINS"
		}
		doc.Relationships = append(doc.Relationships, r)
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	return append(text, '\n'), err
}
