// SPDX-License-Identifier: Apache-2.0
#include "pep/door.h"

#include "sys/files.h"

namespace pinhole::pep {

Result<const tls::TrustStore*> TrustStores::find(const std::optional<std::string>& ca_file) {
  constexpr std::uint64_t kLongestFile = std::uint64_t{4} << 20;
  const std::string key = ca_file.value_or("");
  if (const auto found = stores_.find(key); found != stores_.end()) return &found->second;
  if (!ca_file) {
    PINHOLE_TRY(tls::TrustStore host, tls::TrustStore::host());
    return &stores_.emplace(key, std::move(host)).first->second;
  }
  PINHOLE_TRY(const std::string pem, sys::read_file(*ca_file, kLongestFile));
  auto store = tls::TrustStore::host_and(pem);
  if (!store) return fail(std::move(store).error().context("cannot use the ca: file " + *ca_file));
  return &stores_.emplace(key, *std::move(store)).first->second;
}

}  // namespace pinhole::pep
