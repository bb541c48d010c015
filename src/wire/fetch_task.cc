// SPDX-License-Identifier: Apache-2.0
#include "wire/fetch_task.h"

#include <algorithm>

namespace pinhole::wire {

FetchTask read_fetch_task(ObjectReader& reader) {
  FetchTask task;
  task.url = reader.word("url", kUrlBytes);
  task.method = reader.word("method", kMethodBytes);
  if (!task.url.starts_with("http://") && !task.url.starts_with("https://")) {
    reader.refuse("url", "starts with neither http:// nor https://");
  }
  if (!std::ranges::all_of(task.method, [](char c) { return c >= 'A' && c <= 'Z'; })) {
    reader.refuse("method", "is not made of upper-case letters");
  }
  return task;
}

void write_fetch_task(boost::json::object& out, const FetchTask& task) {
  out["url"] = task.url;
  out["method"] = task.method;
}

}  // namespace pinhole::wire
