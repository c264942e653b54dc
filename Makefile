# SPDX-License-Identifier: Apache-2.0
# Every target installs what it needs from the distribution when run as root on Debian.
GO ?= go
PREFIX ?= /usr/local
TOOL = $(GO) tool -modfile=tools.mod
# The header of NVIDIA's library marks what is old, and go-nvml has a call for each.
export CGO_CFLAGS = -O2 -g -Wno-deprecated-declarations

.PHONY: gpu-verify build demo demo-mesh quick test race lint check cover docs fresh install packages deps vmtest bench clean

build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/...

demo: deps build
	@packaging/demo.sh

# Two machines that are joined, as network namespaces of this one; needs root.
demo-mesh: deps build
	@packaging/demo-mesh.sh

# After each edit: seconds. What takes longer, or needs a manager, is left out.
quick: build
	$(GO) vet ./...
	$(GO) test -short . ./sdk/... ./celld/... ./internal/... ./cmd/... | { grep -v 'no test files' || true; }

# Tests that lack something skip, and the last lines say which and why. Results are never taken from the cache, which does not know
# the programs that tests build and drive.
GOTEST = packaging/gotest.sh $(GO) test -v -count=1 -timeout 30m
test: deps build
	$(GO) vet ./...
	@CELL_TEST_VM=smoke $(GOTEST) ./...

# The same under the race detector, Cell's own programs that tests drive included. Guests are not built with it.
race: deps
	@$(GOTEST) -race $$($(GO) list ./... | grep -v /vmtests)

# What CI runs beside the tests. deadcode ends with 0 whatever it finds; some of the SDK is for cells and their generated code alone.
lint: build
	@out=$$($(TOOL) gofumpt -l . ); test -z "$$out" || { echo "gofumpt would change: $$out"; exit 1; }
	$(GO) vet ./...
	cd bench/codec && $(GO) vet ./...
	cd bench/call && $(GO) vet ./...
	$(TOOL) staticcheck ./...
	@out=$$($(TOOL) deadcode -test ./... | grep -vE 'sdk/(wire/(codec|array)|hot/file|stub/.*|trace/.*|context|cell|topic)\.go'); test -z "$$out" || { echo "$$out"; exit 1; }

# All that can be checked, with nothing skipped.
check: deps lint
	@packaging/deps.sh check
	CELL_TEST_REQUIRE=all $(MAKE) --no-print-directory cover
	$(MAKE) --no-print-directory race

# How much of each package the tests run, those that drive programs included.
cover: deps
	@dir=$$(mktemp -d) && chmod 777 $$dir && CELL_TEST_COVER=$$dir $(GOTEST) -cover ./... -args -test.gocoverdir=$$dir && \
	$(GO) tool covdata percent -i=$$dir | sed 's/^[[:space:]]*//' | sort; rc=$$?; rm -rf $$dir; exit $$rc

# References that are made from the code.
docs:
	$(GO) test ./cmd/cell -short -run 'TestCLIDoc|TestManifestDoc' -update

# What a new contributor meets: the README's commands in a new clone, with nothing in Go's caches. What is not committed is not there.
fresh: deps
	@packaging/fresh.sh

# Missing Debian packages are installed only as root, and only when something is missing.
deps:
	@packaging/deps.sh

# Honours DESTDIR and PREFIX; BUILT names where the programs are. Nothing is built that is there: root often has no Go.
BUILT ?= bin
install: $(if $(wildcard $(BUILT)/celld),,build)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BUILT='$(BUILT)' packaging/install.sh

# Packages of this commit in dist/: .deb and .rpm for amd64 and arm64, the same bytes each time.
packages:
	@packaging/packages.sh

# Scenarios in guests of QEMU: limits, reboots, power cuts. Minutes, where nothing speeds QEMU up; RUN=name runs one.
RUN ?=
vmtest: deps
	@packaging/deps.sh vm
	CELL_TEST_VM=all $(GO) test -v -count=1 -timeout 80m ./vmtests -run '(TestScenarios|TestDonor)/$(RUN)'

# Rivals side by side in one run; docs/benchmarks.md says how to read it.
bench: deps
	@packaging/deps.sh bench
	$(GO) run ./bench
	cd bench/codec && $(GO) run .
	cd bench/call && $(GO) run .

clean:
	rm -rf bin

# All that Cell says of graphics processors, tried on the one that is here, and written to docs/gpu-verified.md. No setting is changed.
gpu-verify: build
	$(GO) build -trimpath -o bin/gpu-verify ./gpu/verify
	bin/gpu-verify -membrane bin/cell-membrane -o docs/gpu-verified.md
