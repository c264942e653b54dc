// Package spdx has what Cell writes of a software bill of materials in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/).
package spdx

import "regexp"

// What each document says of itself.
const (
	Version     = "SPDX-2.3"
	DataLicense = "CC0-1.0"
	Self        = "SPDXRef-DOCUMENT"
	Namespace   = "https://cell.network/spdx/"
)

type (
	// Document lists packages and what they have to do with one another.
	Document struct {
		SPDXVersion       string         `json:"spdxVersion"`
		DataLicense       string         `json:"dataLicense"`
		SPDXID            string         `json:"SPDXID"`
		Name              string         `json:"name"`
		DocumentNamespace string         `json:"documentNamespace"`
		CreationInfo      Creation       `json:"creationInfo"`
		Packages          []Package      `json:"packages"`
		Relationships     []Relationship `json:"relationships"`
	}
	// Creation says when a document was made, in RFC 3339, and by what.
	Creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	// Package is one that is inside of another.
	Package struct {
		Name             string     `json:"name"`
		SPDXID           string     `json:"SPDXID"`
		VersionInfo      string     `json:"versionInfo"`
		DownloadLocation string     `json:"downloadLocation"`
		FilesAnalyzed    bool       `json:"filesAnalyzed"`
		LicenseConcluded string     `json:"licenseConcluded"`
		LicenseDeclared  string     `json:"licenseDeclared"`
		Checksums        []Checksum `json:"checksums,omitempty"`
		ExternalRefs     []Ref      `json:"externalRefs,omitempty"`
	}
	// Checksum is of a package's files.
	Checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	// Ref names a package for others, as a purl.
	Ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	// Relationship is one between two packages by their SPDXID.
	Relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

var notID = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// ID makes an SPDXID of a name.
func ID(name string) string { return "SPDXRef-" + notID.ReplaceAllString(name, "-") }
