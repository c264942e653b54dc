# Every target installs what it needs from the distribution when run as root on Debian.
GO ?= go
PREFIX ?= /usr/local
TOOL = $(GO) tool -modfile=tools.mod

.PHONY: build demo test check install deps vmtest bench clean

build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/...

demo: deps build
	@packaging/demo.sh

# Tests that lack something skip, and the last lines say which and why.
test: deps build
	$(GO) vet ./...
	@log=$$(mktemp); $(GO) test -v -timeout 20m ./... >$$log 2>&1; rc=$$?; \
	if [ $$rc = 0 ]; then grep -E '^ok ' $$log; grep -B1 -E '^ *--- SKIP' $$log; \
	else grep -vE '^(=== |--- PASS|    --- PASS)' $$log; fi; rm -f $$log; exit $$rc

# Format, linters and tests. deadcode ends with 0 whatever it finds; some of the SDK is for cells and their generated code alone.
check: deps build
	@packaging/deps.sh check
	@out=$$($(TOOL) gofumpt -l . ); test -z "$$out" || { echo "gofumpt would change: $$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@out=$$($(TOOL) deadcode -test ./... | grep -vE 'sdk/(wire/(codec|array)|client|hotfile|meta|stream|topic)\.go'); test -z "$$out" || { echo "$$out"; exit 1; }
	CELL_TEST_REQUIRE=all $(GO) test -timeout 20m ./...

# Missing Debian packages are installed only as root, and only when something is missing.
deps:
	@packaging/deps.sh

# Honours DESTDIR and PREFIX; BUILT names where the programs are. Nothing is built that is there: root often has no Go.
BUILT ?= bin
install: $(if $(wildcard $(BUILT)/celld),,build)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BUILT='$(BUILT)' packaging/install.sh

# A guest in QEMU: the kernel holds cells to their limits. Minutes, as nothing speeds QEMU up here.
vmtest: deps build
	@packaging/deps.sh vm
	CELL_TEST_VM=1 $(GO) test -v -count=1 -timeout 20m ./tests/vm

# Rivals side by side in one run; docs/benchmarks.md says how to read it.
bench: deps
	@packaging/deps.sh bench
	$(GO) run ./bench
	cd bench/codec && $(GO) run .
	cd bench/call && $(GO) run .

clean:
	rm -rf bin
