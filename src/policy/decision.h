// SPDX-License-Identifier: Apache-2.0
// One decision: the tables, the request and what has been looked up for it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/policy.h"
#include "policy/tables.h"

namespace pinhole::policy {

class Decision {
 public:
  /// All three must outlive the decision.
  Decision(const Tables& tables, const Request& request, std::size_t& steps);

  Verdict decide();

  /// Whether any request to host:port could be allowed.
  static bool may_be_reached(const Tables& tables, const http::Host& host, std::uint16_t port);

 private:
  using Match = std::optional<RuleIndex>;

  Verdict decide_request(const Request& request);
  Verdict decide_connect();
  Verdict decide_raw(RuleIndex rule);
  Verdict decide_tunnel(RuleIndex rule);
  Verdict decide_inspect();

  Match find_raw() const;
  [[nodiscard]] std::optional<Verdict> above_ceiling(
      const Request& request, std::span<const http::Segments> readings) const;
  [[nodiscard]] std::optional<Verdict> above_ceiling(Handling handling, http::Scheme scheme) const;
  Verdict denied_by(RuleIndex index, const Request& request) const;
  Verdict denied_unseen(RuleIndex index) const;
  Verdict allowed_by(const std::vector<RuleIndex>& found, const Request& request) const;
  Verdict allowed_inside(RuleIndex index) const;
  std::optional<Verdict> refused_pattern(RuleIndex index, const Request& request) const;

  const Tables& tables_;
  const Request& request_;
  std::size_t& steps_;
  HostList denies_;
  HostList allows_;
  boost::container::small_vector<HostList, 2> ceilings_;  // in the order of the tables'
};

/// Whether a rule, alone in its list, fits one reading of the request.
bool fits(const Rule& rule, const Request& request, RuleList list);

}  // namespace pinhole::policy
