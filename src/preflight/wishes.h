// SPDX-License-Identifier: Apache-2.0
// What a project's file asks for, in words, before anybody trusts it.
#pragma once

#include <string>
#include <vector>

#include "config/vm_file.h"
#include "policy/layer.h"

namespace pinhole::preflight {

/// Lines such as "may reach  GET https://api.github.com/repos/**"; the last one says how many were
/// left out where there are too many to read. Foreign text in them is not printable() yet.
std::vector<std::string> wishes(const policy::LayerContent& content,
                                const config::VmRequest& request);

}  // namespace pinhole::preflight
