// SPDX-License-Identifier: Apache-2.0
// The members of a FetchTask inside other messages: {"url":…,"method":…}.
#pragma once

#include <boost/json/object.hpp>

#include "wire/hello.h"
#include "wire/object_reader.h"

namespace pinhole::wire {

/// Takes "url" (http or https, visible ASCII) and "method" (upper-case letters) from `reader`.
FetchTask read_fetch_task(ObjectReader& reader);
void write_fetch_task(boost::json::object& out, const FetchTask& task);

}  // namespace pinhole::wire
