// SPDX-License-Identifier: Apache-2.0
// How a guest comes to trust its VM's certificate authority: a cloud-init boothook, which runs early
// at every boot and does not meet the user's own keys anywhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pinhole::image {

/// The hook that makes the guest trust this certificate.
std::string authority_hook(std::string_view certificate_pem);

/// `user_data` (#cloud-config or a script, as check_user_data() accepts it) and boothooks
/// together, as a MIME multipart (cloud-init's documentation, "User-data formats"); the user-data alone where there are none. The
/// user's part arrives byte for byte.
std::string with_hooks(std::string_view user_data, const std::vector<std::string>& hooks);

std::string with_authority(std::string_view user_data, std::string_view certificate_pem);

}  // namespace pinhole::image
