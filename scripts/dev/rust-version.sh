# shellcheck shell=bash
# Sourced: a compiler that is too old is named before anything is compiled, rather than by an error about a feature of Cargo.toml.

# ensure_rust: ends the script unless cargo and rustc are there and as new as Cargo.toml wants them.
ensure_rust() {
    local needed tool path found get
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$MAPLE_ROOT/Cargo.toml" | head -n 1)
    get="get it from https://rustup.rs, or run 'rustup update stable' if rustup is there"
    for tool in cargo "${RUSTC:-rustc}"; do
        path=$(command -v "$tool") || die "there is no $tool here; MapleAI needs Rust $needed or newer: $get"
        found=$("$tool" --version 2>/dev/null | sed -nE 's/^[a-z]+ ([0-9]+\.[0-9]+(\.[0-9]+)?).*/\1/p')
        [ -n "$found" ] || die "$path does not say its version; MapleAI needs Rust $needed or newer: $get"
        if [ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)" != "$needed" ]; then
            die "$path is version $found; MapleAI needs Rust $needed or newer: $get"
        fi
    done
}
