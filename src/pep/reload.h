// SPDX-License-Identifier: Apache-2.0
// A new policy for a door that is open. It comes as texts, because a confined door sees no new files:
//
//   {"op":"reload","foreign_keys":["vm"],
//    "layers":[{"layer":"user","name":"config.yaml","text":"…"}, …]}
#pragma once

#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "pep/door.h"
#include "policy/policy.h"

namespace pinhole::pep {

/// All layers at once and most of them long; more does not come over the control socket.
inline constexpr std::size_t kLongestReload = std::size_t{2} << 20;

/// Reads, checks and puts in force, or changes nothing. Decisions from here on are the new policy's,
/// and what is under way that it refuses is cut. What a door has from its start (`ca:` files,
/// `resolver:`, `upstream_proxy:`) cannot change this way, and is an error that says so. The change
/// is written into the audit first.
Result<void> reload_policy(Door& door, const boost::json::object& message,
                           std::vector<policy::Builtin> builtins);

}  // namespace pinhole::pep
