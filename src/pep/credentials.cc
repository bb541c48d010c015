// SPDX-License-Identifier: Apache-2.0
#include "pep/credentials.h"

#include <algorithm>

#include "base/strings.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::pep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestFile = 64 << 10;
constexpr std::size_t kSeedBytes = 32;

struct Files {
  fs::path certificate, key, seed;
};
Files files_in(const fs::path& folder) {
  return {.certificate = folder / "ca.pem",
          .key = folder / "ca.key",
          .seed = folder / "placeholder.seed"};
}

Result<std::string> read_seed(const fs::path& file) {
  PINHOLE_TRY(const std::string text, sys::read_file(file, kLongestFile));
  const std::string seed(trim(text));
  if (seed.size() == 2 * kSeedBytes &&
      seed.find_first_not_of("0123456789abcdef") == std::string::npos)
    return seed;
  return fail("{} does not hold {} hexadecimal digits", file.string(), 2 * kSeedBytes);
}

Result<tls::Authority> read_authority(const Files& files) {
  PINHOLE_TRY(const std::string certificate, sys::read_file(files.certificate, kLongestFile));
  PINHOLE_TRY(const std::string key, sys::read_file(files.key, kLongestFile));
  auto authority = tls::Authority::load(certificate, key);
  if (!authority)
    return fail(std::move(authority).error().context(files.certificate.string() + " and .key"));
  return authority;
}

Error damaged(Error error, const fs::path& folder) {
  return std::move(error)
      .context("the VM's certificate authority cannot be used")
      .with_fix(fmt::format("take {} away: the next start makes a new one", folder.string()));
}

}  // namespace

Result<void> create_credentials(const fs::path& folder, std::string_view vm) {
  const Files files = files_in(folder);
  std::error_code error;
  if (!fs::exists(files.seed, error)) {
    PINHOLE_TRY_VOID(sys::write_file_atomic(files.seed, sys::random_hex(kSeedBytes) + "\n"));
  }
  if (!fs::exists(files.certificate, error)) {
    PINHOLE_TRY(const tls::Authority made, tls::Authority::create(vm));
    PINHOLE_TRY_VOID(sys::write_file_atomic(files.key, made.key_pem()));
    PINHOLE_TRY_VOID(sys::write_file_atomic(files.certificate, made.certificate_pem()));
  }
  PINHOLE_TRY(const Credentials checked, load_credentials(folder));
  return {};
}

Result<Credentials> load_credentials(const fs::path& folder) {
  const Files files = files_in(folder);
  auto authority = read_authority(files);
  if (!authority) return fail(damaged(std::move(authority).error(), folder));
  auto seed = read_seed(files.seed);
  if (!seed) return fail(damaged(std::move(seed).error(), folder));
  return Credentials{.authority = *std::move(authority), .placeholder_seed = *std::move(seed)};
}

Result<secret::Vault> make_vault(const policy::Policy& policy, std::string_view placeholder_seed,
                                 const secret::Vault& before) {
  secret::Vault vault;
  if (placeholder_seed.empty()) return vault;
  for (const policy::SecretSpec& spec : policy.secrets()) {
    PINHOLE_TRY_VOID(vault.add(
        {.name = spec.name,
         .from = spec.from,
         .header = spec.header,
         .placeholder = secret::make_placeholder(spec.placeholder, placeholder_seed, spec.name),
         .in_query = spec.in_query,
         .in_body = spec.in_body}));
  }
  vault.take_values(before);
  return vault;
}

std::vector<std::string> secrets_of_host(const policy::Policy& policy, const http::Host& host) {
  std::vector<std::string> names;
  for (const policy::SecretSpec& spec : policy.secrets()) {
    if (spec.may_go_to(host)) names.push_back(spec.name);
  }
  return names;
}

std::vector<std::string> allowed_secrets(const policy::Policy& policy,
                                         const policy::Verdict& verdict, const http::Host& host) {
  std::vector<std::string> names = secrets_of_host(policy, host);
  if (!verdict.allowed()) names.clear();
  if (verdict.secrets) {
    std::erase_if(names, [&](const std::string& name) {
      return std::ranges::find(*verdict.secrets, name) == verdict.secrets->end();
    });
  }
  return names;
}

}  // namespace pinhole::pep
