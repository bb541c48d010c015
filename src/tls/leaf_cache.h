// SPDX-License-Identifier: Apache-2.0
// Leaf certificates by name, the longest unused one leaving first.
#pragma once

#include <ctime>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "tls/authority.h"
#include "tls/openssl.h"

namespace pinhole::tls {

class LeafCache {
 public:
  /// A certificate that ends sooner than this is made anew.
  static constexpr std::time_t kLeastLeft = std::time_t{24} * 60 * 60;

  explicit LeafCache(std::size_t most) : most_(most) {}

  /// The certificate for `name` and `key`, from the cache or made now. Valid until the next call.
  Result<X509*> find(const Authority::Parts& authority, EVP_PKEY* key, const std::string& name,
                     bool is_ip, std::time_t now);
  [[nodiscard]] std::size_t size() const { return leaves_.size(); }

 private:
  struct Leaf {
    std::string name;  // no text is both a DNS name and an address to normalise_host()
    bool is_ip;
    X509Ptr certificate;
    std::time_t made;
  };
  using Place = std::list<Leaf>::iterator;
  void drop(Place place);

  std::size_t most_;
  std::list<Leaf> leaves_;                               // the latest used first
  std::unordered_map<std::string_view, Place> by_name_;  // views into leaves_
};

}  // namespace pinhole::tls
