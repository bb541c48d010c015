// SPDX-License-Identifier: Apache-2.0
// DNS queries as the guest's programs send them: whatever is read can be answered, within its limit,
// and the answer holds the question that was read.
#include "dns/message.h"

#include <algorithm>

#include "fuzz/fuzz.h"

namespace pinhole::dns {
namespace {

constexpr std::size_t kHeaderBytes = 12;

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

void check_fault(const Fault& fault) {
  if (!fault.code) return;
  const std::string answer = build_answer(fault);
  PINHOLE_CHECK(answer.size() >= kHeaderBytes && answer.size() <= kPlainUdpBytes);
  // An answer is never answered.
  const auto again = parse_query(bytes_of(answer));
  PINHOLE_CHECK(!again && !again.error().code);
}

void check_answer(const Query& query, const Answer& answer) {
  for (const std::size_t limit : {udp_limit(query), std::size_t{65535}}) {
    const std::string message = build_answer(query, answer, limit);
    PINHOLE_CHECK(message.size() <= limit);
    PINHOLE_CHECK(std::string_view(message).substr(kHeaderBytes).starts_with(query.question));
    PINHOLE_CHECK(!parse_query(bytes_of(message)));
  }
}

void check_query(const Query& query) {
  PINHOLE_CHECK(query.question.size() <= 255 + 4 && query.name.size() <= kNameBytes);
  PINHOLE_CHECK(udp_limit(query) >= kPlainUdpBytes && udp_limit(query) <= kUdpBytes);
  if (query.is_host_name) {
    PINHOLE_CHECK(is_host_name(query.name));
    const auto again = parse_query(bytes_of(build_query(query.id, query.name, query.type)));
    PINHOLE_CHECK(again && again->name == query.name && again->type == query.type);
    check_answer(query, {.records = {Ptr{query.name}}, .ttl = 1});
  }
  const auto reverse = reverse_address(query.name);
  if (reverse) check_answer(query, {.records = {*reverse}, .ttl = 1});
  check_answer(query, {.records = {A{}, Aaaa{}}, .ttl = 1});
  check_answer(query, {.code = Code::name_error, .ttl = 60});
  check_answer(query, {.code = Code::server_failure});
}

}  // namespace
}  // namespace pinhole::dns

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto query = pinhole::dns::parse_query({data, size});
  if (query) {
    pinhole::dns::check_query(*query);
  } else {
    pinhole::dns::check_fault(query.error());
  }
  return 0;
}
