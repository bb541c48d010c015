// SPDX-License-Identifier: Apache-2.0
// Why a request is not allowed, in words that name the rules that come close.
#pragma once

#include <span>
#include <string>

#include "policy/host_table.h"
#include "policy/policy.h"
#include "policy/rule.h"

namespace pinhole::policy {

/// `nearby` are the patterns that match the host, the most precise first; none of their rules
/// allows the request.
std::string why_not(const Request& request, const HostList& nearby, std::span<const Rule> rules);

/// Why bytes may not pass unseen that a deny rule with a method or path may be meant for.
std::string why_not_unseen(const Request& request, const Rule& deny);

}  // namespace pinhole::policy
