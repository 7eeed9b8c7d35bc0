// The table of device numbers, the built-in catalog, device/1 files and overrides: everything that turns text into a
// DeviceSpec goes through one table and one range check.
#include "costmodel/device_spec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "costmodel/measurement_file.h"

extern const char* const devices_json;  // costmodel/data/devices.json, embedded by the build

namespace espalier::costmodel {

namespace {

/// Files of earlier versions lack them, and what was made for a device in which they cost nothing is still its.
constexpr std::array<std::string_view, 2> kLaterFields = {"page_ns", "row_ns"};

using core::bad_input;
using core::JsonView;

/// Times e^3 = 20 apart: beyond that nothing was predicted.
constexpr double kWidestInterval = 3;

const DeviceField* field_of(std::string_view name) {
  for (const DeviceField& field : device_fields()) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

std::vector<std::string> field_names() {
  std::vector<std::string> names;
  for (const DeviceField& field : device_fields()) names.emplace_back(field.name);
  return names;
}

void check_range(const DeviceField& field, double value, std::string_view where) {
  const bool in_range = value >= field.low && value <= field.high;
  if (in_range && (!field.whole || value == std::floor(value))) return;
  throw bad_input(where,
                  fmt::format("a {} from {} to {}{}{}", field.whole ? "whole number" : "number", field.low, field.high,
                              field.unit.empty() ? "" : " ", field.unit),
                  fmt::format("{}", value));
}

/// What no device can be: each number is legal alone, but not beside the other.
void check_device(const DeviceSpec& device, std::string_view where) {
  struct Rule {
    std::string_view less;
    double less_value;
    std::string_view more;
    double more_value;
  };
  const Rule rules[] = {
      {"smem_kib_per_cta", device.smem_kib_per_cta, "smem_kib_per_sm", device.smem_kib_per_sm},
      {"hbm_gbps x hbm_read_fraction", device.hbm_achievable_bytes_per_us() * 1e-3,
       "l2_bytes_per_clk x clock_ghz (GB/s: L2 can't be slower than HBM)", device.l2_bytes_per_us() * 1e-3},
      {"l2_latency_ns", device.l2_latency_ns, "hbm_latency_ns (a miss passes L2)", device.hbm_latency_ns},
      {"l2_mib", device.l2_mib, "hbm_gib (in MiB)", device.hbm_gib * 1024},
      {"l2_knee_mib", device.l2_knee_mib, "twice l2_mib (reads beyond its capacity miss)", 2 * device.l2_mib},
      {"sm_port_bytes_per_clk", device.sm_port_bytes_per_clk, "l2_bytes_per_clk", device.l2_bytes_per_clk},
  };
  for (const Rule& rule : rules) {
    if (rule.less_value <= rule.more_value * (1 + 1e-9)) continue;
    throw bad_input(where, fmt::format("{} at most {}: {}", rule.less, rule.more, rule.more_value),
                    fmt::format("{}", rule.less_value));
  }
}

Origin origin_of(const JsonView& view) {
  const std::string name = view.string();
  for (const Origin origin : {Origin::datasheet, Origin::measured, Origin::assumed, Origin::overridden}) {
    if (name == origin_name(origin)) return origin;
  }
  throw bad_input(view.where(), "datasheet, measured, assumed or overridden", fmt::format("\"{}\"", name));
}

void read_field(const JsonView& view, const DeviceField& field, DeviceSpec& device) {
  Provenance provenance{Origin::assumed, "given as a plain number, without a source"};
  JsonView number = view;
  if (!view.is_number()) {
    view.allow_only({"value", "origin", "source"});
    number = view.at("value");
    provenance = {origin_of(view.at("origin")), view.at("source").string()};
    if (provenance.source.empty()) throw bad_input(view.at("source").where(), "a source", "an empty string");
  }
  const double value = number.number();
  check_range(field, value, number.where());
  device.*field.member = value;
  device.provenance.insert_or_assign(std::string(field.name), std::move(provenance));
}

void read_intervals(const JsonView& view, DeviceSpec& device) {
  view.allow_only({"hbm", "l2", "compute", "latency", "fixed", "all"});
  device.intervals.clear();
  for (const std::string& regime : view.keys()) {
    const JsonView entry = view.at(regime);
    entry.allow_only({"log_half_width", "plans"});
    const MeasuredInterval interval{entry.at("log_half_width").number(),
                                    entry.at("plans").integer(1, std::int64_t{1} << 40)};
    if (!(interval.log_half_width > 0 && interval.log_half_width <= kWidestInterval)) {
      throw bad_input(entry.at("log_half_width").where(),
                      fmt::format("a number above 0 and at most {}", kWidestInterval),
                      fmt::format("{}", interval.log_half_width));
    }
    device.intervals.emplace(regime, interval);
  }
}

/// One device object: a catalog entry (no base, no schema) or the root of a device/1 document.
DeviceSpec read_object(const JsonView& view, bool is_file) {
  DeviceSpec device;
  if (is_file) {
    if (const auto base = view.find("base")) {
      const auto& catalog = device_catalog();
      const std::string name = base->string();
      const auto found =
          std::find_if(catalog.begin(), catalog.end(), [&](const DeviceSpec& d) { return d.name == name; });
      if (found == catalog.end()) {
        throw bad_input(base->where(), "the name of a built-in device", fmt::format("\"{}\"", name));
      }
      device = *found;
    }
  }
  device.name = view.at("name").string();
  if (device.name.empty()) throw bad_input(view.at("name").where(), "a name", "an empty string");
  const auto label = view.find("label");
  device.label = label ? label->string() : device.name;

  for (const std::string& key : view.keys()) {
    const bool known = key == "name" || key == "label" || (is_file && (key == "schema" || key == "base"));
    if (known || key.starts_with("x_")) continue;
    if (is_file && key == "intervals") {
      read_intervals(view.at(key), device);
      continue;
    }
    if (is_file && key == "calibrated") {
      device.calibrated = read_environment(view.at(key));
      continue;
    }
    const DeviceField* field = field_of(key);
    if (field == nullptr) {
      throw bad_input(view.at(key).where(), "a device field", core::unknown_name("field", key, field_names()));
    }
    read_field(view.at(key), *field, device);
  }
  for (const std::string_view later : kLaterFields) {
    if (is_file) device.provenance.try_emplace(std::string(later), Provenance{Origin::assumed, "not in the file"});
  }
  std::vector<std::string> missing;
  for (const DeviceField& field : device_fields()) {
    if (!device.provenance.contains(field.name)) missing.emplace_back(field.name);
  }
  if (!missing.empty()) {
    throw bad_input(view.where(),
                    is_file ? "every device field, or a \"base\" to take the rest from" : "every device field",
                    "none of " + core::join(missing, ", "));
  }
  check_device(device, view.where());
  return device;
}

std::vector<DeviceSpec> read_catalog() {
  const auto document = core::JsonDocument::parse(devices_json, "devices.json");
  const JsonView root = document.root();
  root.require_schema("catalog/1");
  root.allow_only({"schema", "devices"});
  const JsonView list = root.at("devices");
  std::vector<DeviceSpec> catalog;
  for (std::size_t i = 0; i < list.size(); ++i) catalog.push_back(read_object(list.at(i), false));
  return catalog;
}

struct SpecParts {
  std::string base;
  bool is_file = false;
  std::optional<std::string> overrides;
};

/// A colon belongs to the path when a "/" or ".json" comes after it.
SpecParts split_spec(std::string_view spec) {
  std::size_t from = 0;
  const auto slash = spec.rfind('/');
  const auto json = spec.rfind(".json");
  if (slash != std::string_view::npos) from = slash + 1;
  if (json != std::string_view::npos) from = std::max(from, json + 5);
  const auto colon = spec.find(':', from);
  SpecParts parts;
  parts.base = spec.substr(0, colon);
  parts.is_file = from > 0 || parts.base == "-";
  if (colon != std::string_view::npos) parts.overrides = std::string(spec.substr(colon + 1));
  return parts;
}

void apply_overrides(const std::string& text, DeviceSpec& device) {
  const std::string where = "device " + device.name;
  std::vector<std::string> seen;
  const double knee_share = device.l2_knee_mib / device.l2_mib;
  for (const std::string& part : core::split(text, ',')) {
    const auto equals = part.find('=');
    if (equals == std::string::npos) {
      throw core::usage_error(fmt::format("{}: expected field=value after \":\", got \"{}\"", where, part));
    }
    const std::string name = part.substr(0, equals);
    const DeviceField* field = field_of(name);
    if (field == nullptr) {
      throw core::usage_error(where + ": " + core::unknown_name("field", name, field_names()));
    }
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      throw core::usage_error(fmt::format("{}: field \"{}\" is given twice", where, name));
    }
    seen.push_back(name);
    const auto value = core::parse_number(part.substr(equals + 1));
    const std::string place = fmt::format("{}: {}", where, name);
    if (!value) throw bad_input(place, "a number", fmt::format("\"{}\"", part.substr(equals + 1)));
    check_range(*field, *value, place);
    device.*field->member = *value;
    device.provenance.insert_or_assign(name, Provenance{Origin::overridden, "given by name: " + part});
  }
  // The models read the knee, not the size: another size moves it along unless it is given too.
  const auto given = [&](std::string_view name) { return std::find(seen.begin(), seen.end(), name) != seen.end(); };
  if (given("l2_mib") && !given("l2_knee_mib")) {
    device.l2_knee_mib = knee_share * device.l2_mib;
    check_range(*field_of("l2_knee_mib"), device.l2_knee_mib, where + ": l2_knee_mib");
    device.provenance.insert_or_assign("l2_knee_mib", Provenance{Origin::overridden, "in proportion to l2_mib"});
  }
  check_device(device, where);
  device.name += ":" + text;
}

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::datasheet:
      return "datasheet";
    case Origin::measured:
      return "measured";
    case Origin::assumed:
      return "assumed";
    case Origin::overridden:
      return "overridden";
  }
  ESPALIER_CHECK(false);
}

double DeviceSpec::least_launch_gap_us() const { return launch_graph_us; }

const std::vector<DeviceField>& device_fields() {
  using D = DeviceSpec;
  static const std::vector<DeviceField> fields = {
      {"sms", &D::sms, "", "streaming multiprocessors", 1, 4096, true},
      {"compute_capability", &D::compute_capability, "", "CUDA compute capability (1: a CPU)", 1, 99},
      {"clock_ghz", &D::clock_ghz, "GHz", "sustained SM clock", 0.1, 10},
      {"hbm_gib", &D::hbm_gib, "GiB", "device memory", 0.25, 65536},
      {"hbm_gbps", &D::hbm_gbps, "GB/s", "peak memory bandwidth", 1, 1e6},
      {"hbm_read_fraction", &D::hbm_read_fraction, "", "achievable share of the peak for reads", 0.05, 1},
      {"hbm_latency_ns", &D::hbm_latency_ns, "ns", "loaded memory latency L0 of the bytes-in-flight law", 1, 1e5},
      {"hbm_ramp_exponent", &D::hbm_ramp_exponent, "", "exponent p of that law", 1, 20},
      {"l2_mib", &D::l2_mib, "MiB", "L2 cache", 0.0625, 65536},
      {"l2_bytes_per_clk", &D::l2_bytes_per_clk, "B/clk", "L2 read rate of the whole device", 1, 1e6},
      {"l2_latency_ns", &D::l2_latency_ns, "ns", "latency of an L2 hit", 1, 1e5},
      {"l2_knee_mib", &D::l2_knee_mib, "MiB", "capacity C of the law h(W) = 1/(1+(W/C)^q)", 0.0625, 65536},
      {"l2_knee_exponent", &D::l2_knee_exponent, "", "exponent q of that law", 1, 100},
      {"l2_merge_fraction", &D::l2_merge_fraction, "", "hit share when readers overlap in time", 0, 1},
      {"sm_port_bytes_per_clk", &D::sm_port_bytes_per_clk, "B/clk", "L2 to one SM", 1, 4096},
      {"smem_kib_per_sm", &D::smem_kib_per_sm, "KiB", "shared memory of an SM", 1, 4096},
      {"smem_kib_per_cta", &D::smem_kib_per_cta, "KiB", "most shared memory of a CTA", 1, 4096},
      {"smem_bytes_per_clk", &D::smem_bytes_per_clk, "B/clk", "shared-memory bandwidth of an SM", 1, 4096},
      {"registers_per_sm", &D::registers_per_sm, "", "32-bit registers of an SM", 1024, 16777216, true},
      {"warps_per_sm", &D::warps_per_sm, "", "resident warps of an SM", 1, 1024, true},
      {"ctas_per_sm", &D::ctas_per_sm, "", "resident CTAs of an SM", 1, 1024, true},
      {"mma_flop_per_clk", &D::mma_flop_per_clk, "FLOP/clk", "16-bit mma.sync, fp32 accumulate, per SM", 1, 1e6},
      {"wgmma_flop_per_clk", &D::wgmma_flop_per_clk, "FLOP/clk", "16-bit warp-group MMA per SM (0: none)", 0, 1e6},
      {"fp8_rate_factor", &D::fp8_rate_factor, "", "tensor rate of fp8 over 16-bit (0: none)", 0, 16},
      {"fma_flop_per_clk", &D::fma_flop_per_clk, "FLOP/clk", "fp32 rate per SM, an FMA counts 2", 1, 1e5},
      {"ex2_per_clk", &D::ex2_per_clk, "1/clk", "exponentials per SM", 0.125, 4096},
      {"fp8_convert_per_clk", &D::fp8_convert_per_clk, "1/clk", "fp8 elements widened to 16 bits per SM", 0.125, 4096},
      {"launch_stream_us", &D::launch_stream_us, "us", "start to start of dependent kernels on a stream", 0, 1e4},
      {"launch_graph_us", &D::launch_graph_us, "us", "the same between nodes of a CUDA graph", 0, 1e4},
      {"launch_pdl_us", &D::launch_pdl_us, "us", "the same with programmatic dependent launch", 0, 1e4},
      {"grid_sync_us", &D::grid_sync_us, "us", "cooperative grid barrier", 0, 1e4},
      {"cta_start_ns", &D::cta_start_ns, "ns", "dispatch and prologue of a CTA until its first load", 0, 1e6},
      {"cta_end_ns", &D::cta_end_ns, "ns", "epilogue of a CTA besides its writes", 0, 1e6},
      {"page_ns", &D::page_ns, "ns", "what a CTA's loads wait for at each new page of a paged KV cache", 0, 1e4},
      {"row_ns", &D::row_ns, "ns", "set-up and end of a query row of 128 columns, besides its loads and writes", 0,
       1e4},
  };
  return fields;
}

const std::vector<DeviceSpec>& device_catalog() {
  static const std::vector<DeviceSpec> catalog = read_catalog();
  return catalog;
}

DeviceSpec find_device(std::string_view spec) {
  const SpecParts parts = split_spec(spec);
  std::optional<DeviceSpec> device;
  if (parts.is_file) {
    device = read_device(core::read_file(parts.base), parts.base);
  } else {
    std::vector<std::string> names;
    for (const DeviceSpec& entry : device_catalog()) {
      if (entry.name == parts.base) device = entry;
      names.push_back(entry.name);
    }
    if (!device) throw core::usage_error(core::unknown_name("device", parts.base, names));
  }
  if (parts.overrides) apply_overrides(*parts.overrides, *device);
  return *std::move(device);
}

DeviceSpec find_named_device(std::string_view spec, const std::string& where) {
  const SpecParts parts = split_spec(spec);
  if (parts.is_file) {
    throw core::bad_input(where, "a device of the catalog, or --device", fmt::format("the file {}", parts.base));
  }
  const auto& catalog = device_catalog();
  if (std::none_of(catalog.begin(), catalog.end(), [&](const DeviceSpec& d) { return d.name == parts.base; })) {
    throw core::bad_input(where, "a device of the catalog, or --device with a device file",
                          fmt::format("'{}'", parts.base));
  }
  return find_device(spec);
}

DeviceSpec read_device(std::string_view text, const std::string& file) {
  const auto document = core::JsonDocument::parse(text, file);
  document.root().require_schema("device/1");
  return read_object(document.root(), true);
}

std::string write_device(const DeviceSpec& device) {
  core::JsonWriter writer;
  writer.begin_object().field("schema", "device/1").field("name", device.name).field("label", device.label);
  if (device.calibrated) {
    writer.key("calibrated");
    write_environment(writer, *device.calibrated);
  }
  for (const DeviceField& field : device_fields()) {
    const auto found = device.provenance.find(field.name);
    const Provenance provenance =
        found != device.provenance.end() ? found->second : Provenance{Origin::assumed, "set in code"};
    writer.key(field.name).begin_object();
    writer.field("value", device.*field.member);
    writer.field("origin", origin_name(provenance.origin)).field("source", provenance.source);
    writer.end_object();
  }
  if (!device.intervals.empty()) {
    writer.key("intervals").begin_object();
    for (const auto& [regime, interval] : device.intervals) {
      writer.key(regime)
          .begin_object()
          .field("log_half_width", interval.log_half_width)
          .field("plans", interval.plans)
          .end_object();
    }
    writer.end_object();
  }
  return writer.end_object().finish();
}

std::uint64_t device_hash(const DeviceSpec& device) {
  core::Hasher hasher;
  hasher.text(device.name);
  for (const DeviceField& field : device_fields()) {
    const bool later = std::find(kLaterFields.begin(), kLaterFields.end(), field.name) != kLaterFields.end();
    if (later && device.*field.member == 0) continue;
    hasher.text(field.name);
    hasher.value(device.*field.member);
  }
  return hasher.digest();
}

}  // namespace espalier::costmodel
