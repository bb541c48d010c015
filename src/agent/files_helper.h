// SPDX-License-Identifier: Apache-2.0
// The process that packs and unpacks for the daemon.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wire/operation.h"

namespace pinhole::agent {

/// `files-read PATH` (a tar on stdout) and `files-write PATH NAME` (from stdin). How it went is said
/// on stderr. Returns the exit status.
int run_files_helper(const std::vector<std::string>& args);

/// What it said on stderr.
wire::Reply read_files_report(std::string_view report);

}  // namespace pinhole::agent
