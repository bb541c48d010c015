// SPDX-License-Identifier: Apache-2.0
// One captured connection: CONNECT to the door for the name behind its address, then the bytes both
// ways.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/client_hint.h"
#include "agent/names.h"
#include "agent/settings.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// What the captured connections of a guest share.
struct CaptureState {
  std::shared_ptr<const Settings> settings;
  std::shared_ptr<Names> names;
  ClientFinder clients = {};
  std::vector<Address6> own = {};  // addresses to which no connection is captured
};

/// "example.com:443" for an address that stands for a name, "192.0.2.1:80" or "[2001:db8::1]:80"
/// for others.
std::string authority_of(const Names& names, const Address6& destination, std::uint16_t port);

/// The request that the door gets. `hint` is hint_text()'s and may be empty.
std::string connect_request(std::string_view authority, std::string_view hint);

/// Whether an answer's head (up to its empty line) says 2xx.
bool is_success(std::string_view head);

/// A refused connection is reset; on port 80 the client gets the door's answer as its own, for it
/// is one that people can read.
asio::awaitable<void> carry_connection(Stream client, std::shared_ptr<CaptureState> state);

}  // namespace pinhole::agent
