// SPDX-License-Identifier: Apache-2.0
// What a VM's PEP keeps in its folder DIR (--authority DIR): the certificate authority by which it
// looks into TLS (ca.pem, ca.key), and the seed of the secrets' placeholders (placeholder.seed, 64
// hexadecimal digits). All of mode 0600, made once by --create-authority, the same until the VM is
// removed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "policy/policy.h"
#include "secret/vault.h"
#include "tls/authority.h"

namespace pinhole::pep {

struct Credentials {
  tls::Authority authority;
  std::string placeholder_seed;
};

/// Makes what is missing in `folder`, which exists, and checks what is there. The certificate comes
/// last: where it is, the key is too.
Result<void> create_credentials(const std::filesystem::path& folder, std::string_view vm);

Result<Credentials> load_credentials(const std::filesystem::path& folder);

/// The policy's secrets with their placeholders, and the values of those that `before` has under
/// the same name and from the same source. None without a seed: nobody could know the placeholders.
Result<secret::Vault> make_vault(const policy::Policy& policy, std::string_view placeholder_seed,
                                 const secret::Vault& before = {});

/// Names of the secrets that may go to `host` at all: where there is one, what comes back is masked,
/// whatever was sent, since an origin can keep a value for a later answer.
std::vector<std::string> secrets_of_host(const policy::Policy& policy, const http::Host& host);

/// Of these, the ones that may go with a request that `verdict` allowed: secret::Route::allowed.
std::vector<std::string> allowed_secrets(const policy::Policy& policy,
                                         const policy::Verdict& verdict, const http::Host& host);

}  // namespace pinhole::pep
