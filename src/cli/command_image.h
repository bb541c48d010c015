// SPDX-License-Identifier: Apache-2.0
// The parts of `pinhole image`. Inner header of command_image*.cc.
#pragma once

#include <boost/json/object.hpp>

#include "cli/app.h"
#include "image/store.h"

namespace pinhole::cli {

/// An image's manifest, and where its files are.
boost::json::object describe_image(const image::Image& found);
/// The lines of `pinhole image inspect` on where it came from.
std::vector<std::string> image_origin(const image::Image& found);

void add_image_import(Commands& commands, CLI::App& parent);
void add_image_verify(Commands& commands, CLI::App& parent);

}  // namespace pinhole::cli
