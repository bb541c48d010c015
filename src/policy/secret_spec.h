// SPDX-License-Identifier: Apache-2.0
// A secret as the policy knows it: where its value comes from and where it may go. The value itself
// is never here.
#pragma once

#include <string>
#include <vector>

#include "http/host.h"
#include "policy/host_pattern.h"

namespace pinhole::policy {

struct SecretSpec {
  std::string name;  ///< letters, digits and "_": also the name of the guest's variable
  std::string from;  ///< "env:NAME", "file:/full/path" or "cmd:command line", as written
  std::vector<HostPattern> hosts;        ///< exact ones and "*.name", over https
  std::string header = "authorization";  ///< lower case
  std::string placeholder;               ///< what the guest's stand-in begins with
  bool in_query = false;
  bool in_body = false;

  [[nodiscard]] bool may_go_to(const http::Host& host) const;
};

}  // namespace pinhole::policy
