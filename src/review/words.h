// SPDX-License-Identifier: Apache-2.0
// What a run changed, for people and for programs. Names are a guest's: they pass printable().
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "review/wire.h"

namespace pinhole::review {

/// One line for each change, at most `most` of them, and then how many more there are; but what the host would execute,
/// and what is in conflict, is never left out. Empty: nothing changed.
std::vector<std::string> change_lines(const Report& report, std::size_t most);
/// One change's, without spaces in front: "M a.txt   +2 -1".
std::string change_line(const Change& change);
std::string_view word_for(Entry::Kind kind);
/// "12 changes: 8 new, 3 changed, 1 deleted; 2 that this host would execute"
std::string summary(const Report& report);
/// What apply() did not do, a line each.
std::vector<std::string> outcome_lines(const ApplyOutcome& outcome, std::size_t most);

boost::json::object changes_json(const Report& report);
boost::json::object outcome_json(const ApplyOutcome& outcome);

}  // namespace pinhole::review
