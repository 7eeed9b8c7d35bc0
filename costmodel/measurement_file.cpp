// The table of families, and measurement/1 in and out.
#include "costmodel/measurement_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "costmodel/device_spec.h"

extern const char* const kernels_json;    // costmodel/data/kernels.json, embedded by the build
extern const char* const resources_json;  // kernels/cuda/resources.json, likewise

namespace espalier::costmodel {
namespace {

using core::bad_input;
using core::JsonView;

constexpr std::array<std::string_view, 9> kReported{{"sms", "compute_capability", "hbm_gib", "l2_mib",
                                                     "smem_kib_per_sm", "smem_kib_per_cta", "registers_per_sm",
                                                     "warps_per_sm", "ctas_per_sm"}};

/// Of CTAs, rows, loads and whatever else is counted one by one.
constexpr double kMostCount = 1e12;
/// Microseconds of a kernel: eleven days.
constexpr double kMostUs = 1e12;

constexpr FamilyParameter kCtas = {"ctas", "CTAs, all resident", 1, 1e6};
constexpr FamilyParameter kInFlight = {"in_flight_bytes", "bytes one CTA keeps requested"};
constexpr FamilyParameter kBytes = {"bytes", "read by all CTAs together"};
constexpr FamilyParameter kStages = {"stages", "tiles of the copy ring, one of them being consumed", 1, 1e6};
constexpr FamilyParameter kTileBytes = {"tile_bytes", "of one stage"};
constexpr FamilyParameter kMmaFlop = {"mma_flop", "16-bit tensor FLOPs of one SM", 0};
constexpr FamilyParameter kExponentials = {"exponentials", "of one SM", 0};
constexpr FamilyParameter kFmaFlop = {"fma_flop", "fp32 FLOPs of one SM, an FMA counts 2", 0};

constexpr FamilyParameter parameter(std::string_view name, std::string_view meaning, double low = 1,
                                    double high = 1e18) {
  return {name, meaning, low, high};
}
constexpr FamilyParameter count(std::string_view name, std::string_view meaning) {
  return {name, meaning, 1, kMostCount};
}

MicrobenchmarkFamily family(std::string_view id, std::string_view pattern, std::vector<FamilyParameter> parameters) {
  return {id, pattern, std::move(parameters)};
}

struct Bounds {
  double low, high;
  bool above_low = false;
};

std::vector<double> bounded_column(const JsonView& view, std::size_t points, Bounds bounds) {
  if (view.size() != points) {
    throw bad_input(view.where(), fmt::format("{} values, as many as median_us has", points),
                    fmt::format("{}", view.size()));
  }
  std::vector<double> values;
  for (std::size_t i = 0; i < points; ++i) {
    const double value = view.at(i).number();
    if (!(value >= bounds.low && value <= bounds.high) || (bounds.above_low && value == bounds.low)) {
      throw bad_input(view.at(i).where(),
                      fmt::format("a number {} {} and at most {}", bounds.above_low ? "above" : "of at least",
                                  bounds.low, bounds.high),
                      fmt::format("{}", value));
    }
    values.push_back(value);
  }
  return values;
}

constexpr Bounds kTimes{0, kMostUs, true}, kSpreads{0, kMostUs};

std::vector<std::string> ids() {
  std::vector<std::string> names;
  for (const MicrobenchmarkFamily& family : microbenchmark_families()) names.emplace_back(family.id);
  return names;
}

MeasuredFamily read_family(const JsonView& view) {
  view.allow_only({"id", "repeats", "median_us", "spread", "parameters"});
  MeasuredFamily out;
  out.id = view.at("id").string();
  const MicrobenchmarkFamily* family = find_family(out.id);
  if (family == nullptr) {
    throw bad_input(view.at("id").where(), "a microbenchmark", core::unknown_name("id", out.id, ids()));
  }
  const std::size_t points = view.at("median_us").size();
  out.median_us = bounded_column(view.at("median_us"), points, kTimes);
  out.spread = bounded_column(view.at("spread"), points, kSpreads);
  out.repeats = view.at("repeats").integers32(1);
  if (out.repeats.size() != points) {
    throw bad_input(view.at("repeats").where(), fmt::format("{} values, as many as median_us has", points),
                    fmt::format("{}", out.repeats.size()));
  }
  const JsonView parameters = view.at("parameters");
  for (const std::string& key : parameters.keys()) {
    const bool known = std::any_of(family->parameters.begin(), family->parameters.end(),
                                   [&](const FamilyParameter& p) { return p.name == key; });
    if (known || key.starts_with("x_")) continue;
    std::vector<std::string> names;
    for (const FamilyParameter& p : family->parameters) names.emplace_back(p.name);
    throw bad_input(parameters.where(), fmt::format("the parameters of {}: {}", out.id, core::join(names, ", ")),
                    fmt::format("\"{}\"", key));
  }
  for (const FamilyParameter& p : family->parameters) {
    out.parameters.push_back(bounded_column(parameters.at(p.name), points, {p.low, p.high}));
  }
  return out;
}

std::map<std::string, double, std::less<>> read_query(const JsonView& view) {
  std::map<std::string, double, std::less<>> query;
  for (const std::string& key : view.keys()) {
    if (key.starts_with("x_")) continue;
    if (!is_reported(key)) {
      throw bad_input(view.where(),
                      "fields that a device reports: " + core::join({kReported.begin(), kReported.end()}, ", "),
                      fmt::format("\"{}\"", key));
    }
    const auto field = std::find_if(device_fields().begin(), device_fields().end(),
                                    [&](const DeviceField& f) { return f.name == key; });
    const double value = view.at(key).number(field->low, field->high);
    if (field->whole && value != std::floor(value)) {
      throw bad_input(view.at(key).where(), "a whole number", fmt::format("{}", value));
    }
    query.emplace(key, value);
  }
  return query;
}

std::vector<std::string> texts(const JsonView& view, std::size_t rows) {
  const std::vector<std::string> all = view.strings();
  if (all.size() != rows) {
    throw bad_input(view.where(), fmt::format("{} values, as many as median_us has", rows),
                    fmt::format("{}", all.size()));
  }
  return all;
}

std::vector<MeasuredPlan> read_plans(const JsonView& view) {
  view.allow_only({"file", "hash", "input", "strategy", "repeats", "median_us", "spread"});
  const std::size_t rows = view.at("median_us").size();
  const std::vector<double> median = bounded_column(view.at("median_us"), rows, kTimes),
                            spread = bounded_column(view.at("spread"), rows, kSpreads);
  const auto files = texts(view.at("file"), rows), hashes = texts(view.at("hash"), rows);
  const auto inputs = texts(view.at("input"), rows), strategies = texts(view.at("strategy"), rows);
  const std::vector<std::int32_t> repeats = view.at("repeats").integers32(1);
  if (repeats.size() != rows) {
    throw bad_input(view.at("repeats").where(), fmt::format("{} values, as many as median_us has", rows),
                    fmt::format("{}", repeats.size()));
  }
  std::vector<MeasuredPlan> plans;
  for (std::size_t i = 0; i < rows; ++i) {
    plans.push_back({files[i], hashes[i], inputs[i], strategies[i], repeats[i], median[i], spread[i]});
  }
  return plans;
}

std::string text_of(const JsonView& view) {
  const std::string text = view.string();
  if (text.empty()) throw bad_input(view.where(), "a name", "an empty string");
  return text;
}

void write_plans(const std::vector<MeasuredPlan>& plans, core::JsonWriter& writer) {
  const auto column = [&](std::string_view name, auto member) {
    writer.key(name).begin_array();
    for (const MeasuredPlan& plan : plans) writer.value(plan.*member);
    writer.end_array();
  };
  writer.key("plans").begin_object();
  column("file", &MeasuredPlan::file);
  column("hash", &MeasuredPlan::hash);
  column("input", &MeasuredPlan::input);
  column("strategy", &MeasuredPlan::strategy);
  column("repeats", &MeasuredPlan::repeats);
  column("median_us", &MeasuredPlan::median_us);
  column("spread", &MeasuredPlan::spread);
  writer.end_object();
}

}  // namespace

bool is_reported(std::string_view field) {
  return std::find(kReported.begin(), kReported.end(), field) != kReported.end();
}

const std::vector<MicrobenchmarkFamily>& microbenchmark_families() {
  static const std::vector<MicrobenchmarkFamily> families = {
      family("C0", "cycle counter against the global timer, device lightly loaded",
             {parameter("cycles", "SM clocks that passed")}),
      family("C1", "streaming 16-byte loads from memory, the set far beyond L2", {kCtas, kInFlight, kBytes}),
      family("C2", "streams that read and write memory",
             {kCtas, kInFlight, parameter("read_bytes", "by all CTAs", 0), parameter("write_bytes", "by all CTAs", 0)}),
      family("C3", "a ring of asynchronous copies from memory, consumers only wait",
             {kCtas, kStages, kTileBytes, kBytes}),
      family("C4", "the same with bulk copies (TMA)", {kCtas, kStages, kTileBytes, kBytes}),
      family("C5", "all CTAs read one set again and again",
             {kCtas, kInFlight, parameter("set_bytes", "read again and again"), kBytes}),
      family("C6", "groups of CTAs, all of a group read one cold segment, each starting later than the one before",
             {count("groups", "segments"), count("readers", "CTAs of one segment"),
              parameter("segment_bytes", "of one segment"), kInFlight, parameter("skew_us", "between starts", 0)}),
      family("C7", "pointer chase of one thread over random lines",
             {parameter("set_bytes", "spread over"), count("loads", "one after another")}),
      family("C8", "16-byte shared-memory loads",
             {parameter("bytes", "loaded by one SM", 0),
              parameter("conflict_degree", "wavefronts a load takes over the least", 0, 32),
              parameter("async_bytes", "written by copies meanwhile, one SM", 0)}),
      family("C9", "matrix products from registers",
             {parameter("flop", "of one SM"), parameter("warp_group", "1: warp-group MMA, 0: mma.sync", 0, 1),
              parameter("element_bits", "16 or 8", 8, 16),
              count("chains", "independent accumulators of an SM's warps together")}),
      family("C10", "exponentials, fp32 work and fp8 conversions from registers, one kind at a time",
             {kExponentials, kFmaFlop, parameter("fp8_conversions", "elements of one SM", 0)}),
      family("C11", "a loop that mixes pipes as attention does",
             {kMmaFlop, kExponentials, kFmaFlop, parameter("smem_bytes", "of one SM", 0)}),
      family("C12", "empty kernels, each waiting for the one before; the time is of one",
             {parameter("follow", "0: stream, 1: graph, 2: programmatic", 0, 2), count("ctas", "of one kernel")}),
      family("C13", "one CTA of an attention kernel alone that works off items of KV tiles from memory",
             {count("items", "one after another"), parameter("tiles", "of an item", 0, kMostCount), kTileBytes,
              kInFlight, parameter("lookups", "loads one after another before an item's first tile", 0, 1e6)}),
      family("C14", "barriers",
             {parameter("kind", "0: CTA, 1: named, 2: mbarrier, 3: cluster", 0, 3), count("warps", "that meet"),
              count("barriers", "one after another")}),
      family("C15", "cooperative grid barriers", {kCtas, count("barriers", "one after another")}),
      family("C16", "fp32 reductions in memory",
             {count("addresses", "distinct, a line apart"), count("operations", "of all CTAs")}),
      family("C17", "CTAs of 1024 threads that wait, the even-numbered longer",
             {count("ctas", "of the grid"), parameter("longest_us", "of a CTA", 1e-3, kMostUs),
              parameter("shortest_us", "of a CTA", 0, kMostUs)}),
      family("C18", "two streams of half a grid each, one multiplies, the other reads memory",
             {count("ctas", "of each stream, all resident"),
              parameter("flop", "16-bit tensor FLOPs of one CTA of the first"), kInFlight,
              parameter("bytes", "read by all CTAs of the second"),
              parameter("overlapped", "1: side by side, 0: one after another", 0, 1)}),
      family("C19", "rows gathered from memory through a page table",
             {kCtas, kInFlight, kBytes, parameter("page_bytes", "that lie together")}),
      family("C20", "merges of partial rows",
             {count("splits", "inputs of a row"), count("rows", "merged"), count("columns", "of a row")}),
      family("C21", "cycle counter against the global timer under sustained load",
             {parameter("cycles", "SM clocks that passed"),
              parameter("load", "0: matrix products, 1: L2 streaming", 0, 1)}),
  };
  return families;
}

const MicrobenchmarkFamily* find_family(std::string_view id) {
  for (const MicrobenchmarkFamily& family : microbenchmark_families()) {
    if (family.id == id) return &family;
  }
  return nullptr;
}

MeasurementEnvironment read_environment(const JsonView& view) {
  view.allow_only({"device", "driver", "kernels"});
  return {text_of(view.at("device")), text_of(view.at("driver")), text_of(view.at("kernels"))};
}

void write_environment(core::JsonWriter& writer, const MeasurementEnvironment& environment) {
  writer.begin_object()
      .field("device", environment.device)
      .field("driver", environment.driver)
      .field("kernels", environment.kernels)
      .end_object();
}

MeasurementFile read_measurement(std::string_view text, const std::string& file) {
  const auto document = core::JsonDocument::parse(text, file);
  const JsonView root = document.root();
  if (root.at("schema").string().starts_with("run/")) {
    throw bad_input(file, "times of a device (measurement/1), as calibrate --json and measure write them",
                    "a run of one plan (run/1), which view --measured reads");
  }
  root.require_schema("measurement/1");
  root.allow_only({"schema", "environment", "method", "query", "families", "plans"});
  MeasurementFile out;
  out.environment = read_environment(root.at("environment"));
  if (const auto method = root.find("method")) out.method = method->strings();
  if (const auto query = root.find("query")) out.query = read_query(*query);
  if (const auto families = root.find("families")) {
    for (std::size_t i = 0; i < families->size(); ++i) {
      out.families.push_back(read_family(families->at(i)));
      const auto twice = [&](const MeasuredFamily& f) { return f.id == out.families.back().id; };
      if (std::count_if(out.families.begin(), out.families.end(), twice) > 1) {
        throw bad_input(families->at(i).at("id").where(), "each id once",
                        fmt::format("\"{}\" again", out.families.back().id));
      }
    }
  }
  if (const auto plans = root.find("plans")) out.plans = read_plans(*plans);
  return out;
}

std::string write_measurement(const MeasurementFile& m) {
  core::JsonWriter writer;
  writer.begin_object().field("schema", "measurement/1");
  writer.key("environment");
  write_environment(writer, m.environment);
  if (!m.method.empty()) writer.field("method", m.method);
  writer.key("query").begin_object();
  for (const auto& [name, value] : m.query) writer.field(name, value);
  writer.end_object();
  writer.key("families").begin_array();
  for (const MeasuredFamily& family : m.families) {
    const MicrobenchmarkFamily* known = find_family(family.id);
    ESPALIER_CHECK(known != nullptr && known->parameters.size() == family.parameters.size());
    writer.begin_object().field("id", family.id);
    writer.key("parameters").begin_object();
    for (std::size_t p = 0; p < family.parameters.size(); ++p) {
      writer.field(known->parameters[p].name, family.parameters[p]);
    }
    writer.end_object();
    writer.field("repeats", family.repeats)
        .field("median_us", family.median_us)
        .field("spread", family.spread)
        .end_object();
  }
  writer.end_array();
  if (!m.plans.empty()) write_plans(m.plans, writer);
  return writer.end_object().finish();
}

std::string environment_difference(const MeasurementEnvironment& a, const MeasurementEnvironment& b) {
  std::vector<std::string> parts;
  const auto compare = [&](std::string_view what, const std::string& x, const std::string& y) {
    if (x != y) parts.push_back(fmt::format("{} {} and {}", what, x, y));
  };
  compare("device", a.device, b.device);
  compare("driver", a.driver, b.driver);
  compare("kernel build", a.kernels, b.kernels);
  return core::join(parts, ", ");
}

std::string kernel_build_hash() {
  core::Hasher hasher;
  hasher.text(kernels_json);
  hasher.text(resources_json);
  return core::hash_text(hasher.digest());
}

}  // namespace espalier::costmodel
