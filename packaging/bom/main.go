// Command bom writes what the packages of Cell say of the modules that are linked into its programs: the licence of each, and a
// software bill of materials in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/).
//
//	bom DIR VERSION DATE PROGRAM…
//
// DIR gets licenses/MODULE/FILE and sbom.spdx.json. DATE is RFC 3339 and is all that is not found in the programs themselves.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cell-network/cell/internal/spdx"
)

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: bom DIR VERSION DATE PROGRAM…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "bom:", err)
		os.Exit(1)
	}
}

const self = "SPDXRef-cell"

func run(dir, version, date string, programs []string) error {
	modules := map[string]*debug.Module{}
	goVersion := ""
	sum := sha256.New()
	for _, p := range programs {
		info, err := buildinfo.ReadFile(p)
		if err != nil {
			return fmt.Errorf("read what %s was built from: %w", p, err)
		}
		goVersion = info.GoVersion
		for _, m := range info.Deps {
			modules[m.Path] = m
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		sum.Write(data)
	}
	doc := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXID: spdx.Self, Name: "cell-" + version,
		DocumentNamespace: spdx.Namespace + "cell-" + version + "-" + hex.EncodeToString(sum.Sum(nil))[:16],
		CreationInfo:      spdx.Creation{Created: date, Creators: []string{"Tool: cell-bom"}},
		Packages: []spdx.Package{
			{Name: "cell", SPDXID: self, VersionInfo: version, DownloadLocation: "NOASSERTION", LicenseConcluded: "Apache-2.0", LicenseDeclared: "Apache-2.0"},
			{Name: "go", SPDXID: "SPDXRef-go", VersionInfo: goVersion, DownloadLocation: "https://go.dev/dl/", LicenseConcluded: "BSD-3-Clause", LicenseDeclared: "BSD-3-Clause"},
		},
		Relationships: []spdx.Relationship{{Element: spdx.Self, Type: "DESCRIBES", Related: self}, {Element: self, Type: "DEPENDS_ON", Related: "SPDXRef-go"}},
	}
	var paths []string
	for path := range modules {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		m := modules[path]
		license, err := licences(m, filepath.Join(dir, "licenses", path))
		if err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
		if err != nil {
			return fmt.Errorf("checksum of %s: %w", path, err)
		}
		id := spdx.ID(path)
		doc.Packages = append(doc.Packages, spdx.Package{
			Name: path, SPDXID: id, VersionInfo: m.Version, DownloadLocation: "NOASSERTION", LicenseConcluded: license, LicenseDeclared: license,
			Checksums:    []spdx.Checksum{{Algorithm: "SHA256", Value: hex.EncodeToString(raw)}}, // of the module's files, as in go.sum
			ExternalRefs: []spdx.Ref{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: "pkg:golang/" + path + "@" + m.Version}},
		})
		doc.Relationships = append(doc.Relationships, spdx.Relationship{Element: self, Type: "DEPENDS_ON", Related: id})
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sbom.spdx.json"), append(text, '\n'), 0o644)
}

// licences copies a module's licence files and says which licence it is.
func licences(m *debug.Module, to string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", m.Path+"@"+m.Version).Output()
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w", m.Path, err)
	}
	var at struct{ Dir string }
	if err := json.Unmarshal(out, &at); err != nil {
		return "", fmt.Errorf("find the source of %s: %w", m.Path, err)
	}
	found, _ := filepath.Glob(filepath.Join(at.Dir, "[LN][IO][CT][EI][NC]*")) // LICENSE…, LICENCE…, NOTICE…
	if len(found) == 0 {
		return "", fmt.Errorf("module %s has no licence file", m.Path)
	}
	id := ""
	for _, file := range found {
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			continue // LICENSES of REUSE, which repeats them
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if id == "" {
			id = spdxID(string(text))
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o644); err != nil {
			return "", err
		}
	}
	if id == "" {
		return "", errors.New(m.Path + ": its licence is none that is known here; look at it and name it in packaging/bom")
	}
	return id, nil
}

// spdxID recognises the licences that dependencies have, by words that only they have.
func spdxID(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, l := range []struct{ id, words string }{
		{"Apache-2.0", "Apache License Version 2.0"},
		{"MPL-2.0", "Mozilla Public License"},
		{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
		{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose with or without fee"},
		{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"BSD-3-Clause", "Neither the name of"},
		{"BSD-2-Clause", "Redistribution and use in source and binary forms"},
	} {
		if strings.Contains(text, l.words) {
			return l.id
		}
	}
	return ""
}
