// SPDX-License-Identifier: Apache-2.0
// What makes the guest's programs trust the authority of their machine, in whose name the door
// speaks TLS, and use https where they would have used ssh. Done before the first of them runs;
// again and again with the same result.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::agent {

/// Below `root`:
/// - usr/local/share/ca-certificates/pinhole.crt, where the next update-ca-certificates finds it
///   (and etc/pki/ca-trust/source/anchors where there is one), links in etc/ssl/certs, and the
///   system's bundle, which is made where there is none;
/// - etc/environment: the variables by which programs that bring authorities of their own are led
///   to the bundle. A variable that is there already stays as it is;
/// - the keystore of Java, and policies for Chromium, Chrome and Firefox, where they are installed.
/// Returns what could not be done, one line each; a store that a program brings and we cannot read
/// is no reason to stop.
std::vector<std::string> install_authority(const std::filesystem::path& root, std::string_view pem);

/// etc/gitconfig: git@github.com:… and ssh://git@github.com/… are fetched by https, for GitHub, GitLab
/// and Bitbucket; there is no way out for ssh. What the file says already stays.
Result<void> lead_git_to_https(const std::filesystem::path& root);

/// The bundle with this certificate (PEM, ends with a newline) in it once and `before`, the one of an
/// earlier boot, no more.
std::string with_certificate(std::string_view bundle, std::string_view pem,
                             std::string_view before);
/// The text of /etc/environment with the variables for this.
std::string with_trust_variables(std::string_view environment, std::string_view bundle,
                                 std::string_view anchor);

}  // namespace pinhole::agent
