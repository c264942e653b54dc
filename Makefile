# Every target installs what it needs from the distribution when run as root on Debian.
GO ?= go
PREFIX ?= /usr/local

.PHONY: build demo test check install deps clean

build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/...

demo: deps build
	@packaging/demo.sh

test: deps build
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

check: build
	@out=$$(gofmt -l . ); test -z "$$out" || { echo "gofmt would change: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

# Missing Debian packages are installed only as root, and only when something is missing.
deps:
	@packaging/deps.sh

clean:
	rm -rf bin
