// SPDX-License-Identifier: Apache-2.0
// What the door refused, for people.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <boost/json/array.hpp>

#include "audit/query.h"

namespace pinhole::cli {

/// What nobody has to hear of: refusals of denied.pinhole.internal, which each start and
/// `pinhole verify` ask for to see them refused. The audit log has them all the same.
std::vector<audit::DeniedGroup> without_self_tests(std::vector<audit::DeniedGroup> groups);

/// What stands beside each refusal.
enum class Suggest {
  line,  ///< of the policy
  flag,  ///< of `pinhole run`
};

/// Lines of a table, at most `most` groups of them and one that says how many are left out; nothing
/// where nothing was refused.
std::vector<std::string> denial_lines(std::span<const audit::DeniedGroup> groups,
                                      std::size_t most = 10, Suggest suggest = Suggest::line);
/// [{host, port, code, rule, count, allow, flag, programs}]
boost::json::array denials_json(std::span<const audit::DeniedGroup> groups);

}  // namespace pinhole::cli
