// SPDX-License-Identifier: Apache-2.0
// Times Policy::decide with few and with many rules.   bench_decide ROUNDS
//
// Prints one JSON line for each kind of request: the median of each round's mean, in nanoseconds,
// for 10 and for 10,000 rules. Both policies are asked in turns, so that what disturbs the machine
// disturbs both. The large policy is asked about all its hosts and paths, so that it pays for its
// cache misses; the small one about its own, as often, in as many objects: a door has its request at
// hand, and only the tables differ.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "http/url.h"
#include "policy/policy.h"
#include "yaml/yaml.h"

namespace {

using pinhole::policy::Layer;
using pinhole::policy::LayerKind;
using pinhole::policy::Policy;
using pinhole::policy::Request;

constexpr std::size_t kDecisions = 20'000;  // of one round
constexpr std::size_t kRequests = 1'666;    // a sixth of the large policy's rules

/// A half of hosts, a third of paths of one host, a sixth of denies.
Policy policy_of(std::size_t rules) {
  std::string allow = "egress:\n  allow:\n    - \"*.wild.example.com\"\n";
  std::string deny = "  deny:\n";
  for (std::size_t i = 0; i < rules; ++i) {
    if (i % 6 == 5) {
      deny += fmt::format("    - POST https://api.example.com/v1/items/{}/x\n", i);
    } else if (i % 2 == 0) {
      allow += fmt::format("    - h{}.example.com\n", i);
    } else {
      allow += fmt::format("    - GET https://api.example.com/v1/items/{}/x\n", i);
    }
  }
  std::vector<Layer> layers;
  layers.push_back(
      {.kind = LayerKind::user, .document = pinhole::yaml::parse(allow + deny, "p.yaml").value()});
  return Policy::compile(std::move(layers)).value();
}

std::vector<Request> requests_of(std::string_view kind, std::size_t rules) {
  std::vector<Request> requests;
  const auto add = [&](std::string method, const std::string& url) {
    requests.push_back(Request::of(std::move(method), pinhole::http::parse_url(url).value()));
  };
  for (std::size_t number = 0; number < kRequests; ++number) {
    const std::size_t i = 6 * number % (rules - rules % 6);
    if (kind == "host") add("GET", fmt::format("https://h{}.example.com/some/path/of/a/file", i));
    if (kind == "path") add("GET", fmt::format("https://api.example.com/v1/items/{}/x", i + 1));
    if (kind == "wildcard") add("GET", fmt::format("https://a{}.b.wild.example.com/x/y", i));
    if (kind == "denied") add("POST", fmt::format("https://api.example.com/v1/items/{}/x", i + 5));
    if (kind == "unknown") add("GET", fmt::format("https://u{}.example.org/x/y", i));
    if (kind == "connect") {
      requests.push_back(Request::connect(
          pinhole::http::normalise_host(fmt::format("h{}.example.com", i)).value(), 443));
    }
  }
  return requests;
}

/// Nanoseconds of one decision.
double round_of(const Policy& policy, const std::vector<Request>& requests, std::size_t& allowed) {
  const auto start = std::chrono::steady_clock::now();
  // A stride that visits all, not in the order in which they lie in memory.
  std::size_t at = 0;
  for (std::size_t i = 0; i < kDecisions; ++i) {
    allowed += policy.decide(requests[at]).allowed() ? 1 : 0;
    at = (at + 7919) % requests.size();
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / kDecisions;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 21;
  const Policy few = policy_of(10);
  const Policy many = policy_of(10'000);
  for (const std::string_view kind : {"host", "path", "wildcard", "denied", "unknown", "connect"}) {
    const auto few_requests = requests_of(kind, 10);
    const auto many_requests = requests_of(kind, 10'000);
    std::vector<double> few_ns;
    std::vector<double> many_ns;
    std::vector<double> ratios;
    std::size_t allowed = 0;
    for (int round = 0; round < rounds; ++round) {
      few_ns.push_back(round_of(few, few_requests, allowed));
      many_ns.push_back(round_of(many, many_requests, allowed));
      ratios.push_back(many_ns.back() / few_ns.back());
    }
    std::printf(
        "{\"kind\":\"%.*s\",\"few_ns\":%.0f,\"many_ns\":%.0f,\"ratio\":%.3f,\"allowed\":%zu}\n",
        static_cast<int>(kind.size()), kind.data(), median(few_ns), median(many_ns), median(ratios),
        allowed);
  }
  return 0;
}
