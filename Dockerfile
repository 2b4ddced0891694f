# MapleAI's image: the binary and the handful of files it needs, on nothing. No shell, no package manager, no root.
#
#   make image         builds it
#   make image-test    builds and runs it, and checks what docs/DEPLOYMENT.md says of it
#
# The target `local-model` is another image, for compose.yaml: the program that computes a small model's answers. The last stage is
# MapleAI's, so that a build without a target never makes the other one.
#
# Base images by version; the pipeline's own record of their digests is the build's provenance.

FROM rust:1.95-slim-bookworm AS toolchain
WORKDIR /build
# One target folder for all stages: a dependency that was built for one is not built again for the next.
ENV CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 SQLX_OFFLINE=true

# Writes the list of dependencies into the binary, so that scanners can read it from the image.
FROM toolchain AS auditable
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --root /opt/auditable cargo-auditable@0.7.7

# The workspace without its sources: an empty program and empty libraries. Its files change with the manifests alone, and so do the layers
# that take it.
FROM toolchain AS manifests
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY xtask/Cargo.toml xtask/
RUN find crates -path '*/src/*' -delete \
    && mkdir -p src xtask/src \
    && for source in src crates/*/src; do touch "$source/lib.rs"; done \
    && echo 'fn main() {}' | tee src/main.rs xtask/src/main.rs crates/{bench,local-model,reference-proxy}/src/main.rs >/dev/null

# The dependencies, built against an empty program: this layer changes with Cargo.lock, and with the profile that `make profile`
# wrote, if there is one. The list of dependencies is taken from the empty program: the wrapper that writes it gives the crate
# other symbols than those that the profile knows.
FROM toolchain AS dependencies
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --from=auditable /opt/auditable/bin/cargo-auditable /usr/local/cargo/bin/
COPY --from=manifests /build/ ./
COPY Cargo.toml profil[e]/mapleai-*.profdata ./
RUN for profile in *.profdata; do \
        [ ! -f "$profile" ] || echo "-Cprofile-use=$PWD/$profile -Cllvm-args=-no-pgo-warn-mismatch"; \
    done >release-flags
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    RUSTFLAGS=$(cat release-flags) cargo auditable build --release --locked --bin mapleai \
    && objcopy --dump-section .dep-v0=dependencies.dep-v0 target/release/mapleai /dev/null

FROM dependencies AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY .sqlx .sqlx
COPY assets assets
COPY config config
COPY migrations migrations
COPY templates templates
COPY crates crates
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    find src crates -name '*.rs' -exec touch {} + \
    && RUSTFLAGS=$(cat release-flags) cargo build --release --locked --bin mapleai

# What a process finds in a system that has nothing else: the loader and the libraries that the binary names, certificate
# authorities, its user, and the folder of the usage journal, to be mounted over.
RUN mkdir -p /image/etc/ssl/certs /image/usr/bin /image/var/lib/mapleai/journal \
    && objcopy --add-section .dep-v0=dependencies.dep-v0 target/release/mapleai /image/usr/bin/mapleai \
    && ldd target/release/mapleai | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} /image/ \
    && cp --dereference /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'mapleai:x:1001:1001:MapleAI:/:/usr/bin/mapleai' >/image/etc/passwd \
    && echo 'mapleai:x:1001:' >/image/etc/group \
    && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
    && chown -R 1001:1001 /image/var/lib/mapleai

# --- local-model: the program of crates/local-model, for development, in an image of its own. ------------------------------------

# As above: this layer changes with Cargo.lock.
FROM toolchain AS local-model-dependencies
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY --from=auditable /opt/auditable/bin/cargo-auditable /usr/local/cargo/bin/
COPY --from=manifests /build/ ./
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo auditable build --release --locked --package local-model

FROM local-model-dependencies AS local-model-build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY crates/local-model/src crates/local-model/src
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    touch crates/local-model/src/main.rs crates/local-model/src/lib.rs \
    && cargo auditable build --release --locked --package local-model

# MapleAI's user: the state file has a key in it, and only its owner may read it. Both folders are to be mounted over; a new volume
# takes over their owner.
RUN mkdir -p /image/etc/ssl/certs /image/usr/bin /image/run/local-model /image/var/cache/local-model \
    && cp target/release/local-model /image/usr/bin/ \
    && ldd target/release/local-model | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} /image/ \
    && cp --dereference /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'mapleai:x:1001:1001:MapleAI:/:/usr/bin/local-model' >/image/etc/passwd \
    && echo 'mapleai:x:1001:' >/image/etc/group \
    && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
    && chown 1001:1001 /image/run/local-model /image/var/cache/local-model \
    && chmod 0700 /image/run/local-model

FROM scratch AS local-model
LABEL org.opencontainers.image.title="MapleAI: local model" \
      org.opencontainers.image.description="A small language model beside MapleAI, for development" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/mapleai/mapleai"
COPY --from=local-model-build /image/ /
ENV MAPLE_CACHE=/var/cache/local-model
USER 1001:1001
# Ready, not merely alive. A first start fetches 98 MB.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30m --retries=3 \
    CMD ["/usr/bin/local-model", "healthcheck", "--state", "/run/local-model/state.json"]
ENTRYPOINT ["/usr/bin/local-model"]
CMD ["run", "--state", "/run/local-model/state.json"]

# --- MapleAI. -----------------------------------------------------------------------------------------------------------------------

FROM scratch
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="MapleAI" \
      org.opencontainers.image.description="An AI service that an organisation runs for its people and its programs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/mapleai/mapleai" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /image/ /
ENV MAPLE_ENV=production
USER 1001:1001
# Callers; and operations (probes, metrics), which no ingress leads to.
EXPOSE 3000 9464
# Ready, not merely alive: what waits for a healthy container wants it to serve.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/mapleai", "healthcheck"]
ENTRYPOINT ["/usr/bin/mapleai"]
CMD ["serve"]
