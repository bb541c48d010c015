// SPDX-License-Identifier: Apache-2.0
#include "tls/leaf_cache.h"

#include "base/check.h"
#include "tls/certificate.h"

namespace pinhole::tls {

void LeafCache::drop(Place place) {
  by_name_.erase(place->name);
  leaves_.erase(place);
}

Result<X509*> LeafCache::find(const Authority::Parts& authority, EVP_PKEY* key,
                              const std::string& name, bool is_ip, std::time_t now) {
  constexpr std::time_t kLife = std::time_t{kLeafDays} * 24 * 60 * 60;
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    const Place leaf = found->second;
    // A clock that was set back has made certificates of the future.
    const bool good = leaf->is_ip == is_ip && now >= leaf->made - kLeastLeft &&
                      now < leaf->made + kLife - kLeastLeft;
    if (good) {
      leaves_.splice(leaves_.begin(), leaves_, leaf);
      return leaf->certificate.get();
    }
    drop(leaf);
  }
  PINHOLE_TRY(X509Ptr certificate, mint_leaf(authority, key, name, is_ip, now));
  if (leaves_.size() >= most_ && !leaves_.empty()) drop(std::prev(leaves_.end()));
  leaves_.push_front(
      {.name = name, .is_ip = is_ip, .certificate = std::move(certificate), .made = now});
  by_name_.emplace(leaves_.front().name, leaves_.begin());
  return leaves_.front().certificate.get();
}

}  // namespace pinhole::tls
