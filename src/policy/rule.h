// SPDX-License-Identifier: Apache-2.0
// One rule of `allow:` or `deny:`.
//
//   target  = [METHOD[,METHOD] ][scheme://]host[:port][/path] | tcp://host:port
//   host    = a name or an IP address | *.name (all names below it, not itself) | * (every public
//   host) path    = segments; * is one segment that is not empty, ** at the end is any rest
//
// Without a scheme and port an allow rule means https on 443 and http on 80; with a port alone both
// schemes on it; with a scheme alone its default port. A deny rule is wider where it says nothing:
// without a port it means every port, without a scheme both. The long form spells the same out:
// {host: [scheme://]host[:port], methods: […], paths: […], secrets: […], limits: {…}, tls: tunnel}.
// A deny of tcp:// is for the port, whatever is spoken there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/url.h"
#include "policy/host_pattern.h"
#include "policy/policy.h"
#include "yaml/yaml.h"

namespace pinhole::policy {

/// Scheme and port, either of which may be open (in deny rules).
struct Reach {
  std::optional<http::Scheme> scheme;
  std::optional<std::uint16_t> port;
  bool operator==(const Reach&) const = default;
};

/// A path of a rule, decoded: "*" stands for any one segment that is not empty.
struct PathPattern {
  http::Segments segments;
  bool rest = false;  ///< ended in "**": at least one more segment, of any kind
};

/// What an allowed request takes from its rule comes first, side by side.
struct Rule {
  std::string id;  ///< "pinhole.yaml:17"
  HostPattern host;
  bool tunnel = false;  ///< tls: tunnel
  bool raw = false;     ///< tcp://; of its reach only the port counts
  std::optional<std::uint64_t> request_body;
  std::optional<std::uint64_t> response_body;
  std::optional<Rate> rate;
  std::optional<std::uint64_t> concurrent;
  std::optional<std::vector<std::string>> secrets;  ///< the only ones that may go this way
  yaml::Mark mark;
  std::vector<Reach> reaches;
  std::vector<std::string> methods;   ///< empty: any
  std::vector<std::string> paths;     ///< as written; empty: any
  std::vector<PathPattern> patterns;  ///< of `paths`; empty: any

  /// No method and no path: what CONNECT can be allowed or denied by.
  [[nodiscard]] bool is_whole_host() const;
  /// The same for two rules that mean the same.
  [[nodiscard]] std::string key() const;
};

/// The rule in the short form, as near as that can say it, with what the long form adds behind it:
/// "POST https://api.example.com/v1 (secrets: KEY)".
std::string text_of(const Rule& rule);

/// A rule of a ceiling reads as one that allows, but grants nothing itself.
enum class RuleList { allow, deny, ceiling };
std::string_view to_string(RuleList list);

/// A rule from an item of the list, which decides what an open scheme and port mean.
Result<Rule> read_rule(const yaml::Document& document, const yaml::Node& item, RuleList list);

}  // namespace pinhole::policy
