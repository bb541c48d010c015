// SPDX-License-Identifier: Apache-2.0
// Members of JSON objects that a peer sent: what is missing or of another type is empty, never an exception.
// Header only: who includes it links Boost.JSON.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

namespace pinhole {

inline std::string text_of(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace pinhole
