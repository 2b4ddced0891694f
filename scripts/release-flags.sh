# shellcheck shell=bash
# Sourced before a release build, in the checkout: has the compiler use the profile that `make profile` wrote, if there is one; of
# mapleai, or of the program that PROFILE_OF names.
# A function that has changed since is built as without, and says nothing of it.

if [ -z "${RUSTFLAGS:-}" ]; then
    for profile in "$PWD"/profile/"${PROFILE_OF:-mapleai}"-*.profdata; do
        [ ! -f "$profile" ] || RUSTFLAGS="-Cprofile-use=$profile -Cllvm-args=-no-pgo-warn-mismatch"
    done
    [ -z "${RUSTFLAGS:-}" ] || export RUSTFLAGS
fi
