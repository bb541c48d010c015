// SPDX-License-Identifier: Apache-2.0
// Where Debian packages come from: the mirrors that this machine uses itself, so that a company's
// mirror or a cache is used here too. None of it goes into the image.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

/// Lines for mmdebstrap ("deb URI SUITE main") from the output of `apt-get indextargets` in the
/// format kIndexFormat: Debian's own archives for `suite`, its updates and security updates. Empty
/// when this machine runs another release; mmdebstrap's defaults then serve.
inline constexpr std::string_view kIndexFormat = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)";
std::vector<std::string> debian_sources(std::string_view index_targets, std::string_view suite);

/// debian_sources() of this machine.
std::vector<std::string> host_sources(std::string_view suite);

/// The newest `Date:` of the texts of Release files (RFC 2822 form, as Debian writes it) in RFC
/// 3339 form; empty when none has one.
std::string newest_release_date(const std::vector<std::string>& releases);

/// "name=version" of the installed packages in the text of /var/lib/dpkg/status, sorted.
std::vector<std::string> installed_packages(std::string_view status);

}  // namespace pinhole::image
