// SPDX-License-Identifier: Apache-2.0
#include "agent/cloud_init.h"

#include <boost/json/parse.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "wire/hello.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::uint64_t kFileBytes = 256 * 1024;
constexpr std::size_t kDetail = wire::kDetailBytes - 64;  // room for words around it

bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

CloudInit error(std::string detail) {
  return {.state = CloudInit::State::error, .detail = std::move(detail)};
}

bool switched_off(const fs::path& root) {
  if (present(root / "etc/cloud/cloud-init.disabled")) return true;
  // ds-identify's word: no datasource was found, so the generator did not start it.
  if (present(root / "run/cloud-init/disabled")) return true;
  const auto cmdline = sys::read_file(root / "proc/cmdline", kFileBytes);
  return cmdline && cmdline->find("cloud-init=disabled") != std::string::npos;
}

std::string read_instance_id(const fs::path& root) {
  const auto text = sys::read_file(root / "var/lib/cloud/data/instance-id", kFileBytes);
  if (!text) return {};
  std::string id(trim(*text));
  // It becomes a word on the wire.
  const bool word = id.size() <= wire::kWordBytes && printable(id) == id &&
                    id.find_first_not_of("\t ") == 0 && id.find(' ') == std::string::npos;
  return word ? id : std::string();
}

}  // namespace

std::string_view cloud_init_text(CloudInit::State state) {
  switch (state) {
    case CloudInit::State::absent:
      return "absent";
    case CloudInit::State::disabled:
      return "disabled";
    case CloudInit::State::running:
      return "running";
    case CloudInit::State::done:
      return "done";
    case CloudInit::State::error:
      break;
  }
  return "error";
}

CloudInit parse_cloud_init_result(std::string_view text) {
  boost::system::error_code failed;
  const json::value value = json::parse(text, failed);
  const json::value* v1 =
      !failed && value.is_object() ? value.get_object().if_contains("v1") : nullptr;
  if (v1 == nullptr || !v1->is_object()) return error("its result.json cannot be read");
  const json::object& result = v1->get_object();
  const json::value* errors = result.if_contains("errors");
  if (errors == nullptr || !errors->is_array()) return error("its result.json lists no errors");
  std::string all;
  for (const json::value& item : errors->get_array()) {
    if (!all.empty()) all += "; ";
    all += item.is_string() ? std::string(std::string_view(item.get_string())) : "(not a text)";
  }
  if (!errors->get_array().empty()) return error(printable(all, kDetail));
  const json::value* source = result.if_contains("datasource");
  const bool named = source != nullptr && source->is_string();
  return {.state = CloudInit::State::done,
          .detail = named ? printable(std::string_view(source->get_string()), kDetail) : ""};
}

CloudInit read_cloud_init(const fs::path& root) {
  if (const auto text = sys::read_file(root / "run/cloud-init/result.json", kFileBytes)) {
    CloudInit found = parse_cloud_init_result(*text);
    found.instance_id = read_instance_id(root);
    return found;
  }
  if (!present(root / "usr/bin/cloud-init")) return {.state = CloudInit::State::absent};
  if (switched_off(root)) {
    return {.state = CloudInit::State::disabled,
            .detail = "cloud-init found no datasource, or is switched off"};
  }
  return {.state = CloudInit::State::running};
}

}  // namespace pinhole::agent
