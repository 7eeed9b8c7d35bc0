// The device catalog, device/1 files and overrides.
#include "costmodel/device_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"

extern const char* const devices_json;
extern const char* const kernels_json;

namespace espalier::costmodel {
namespace {

using core::Error;
using core::ErrorKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Call>
void expect_error(Call call, ErrorKind kind, const std::vector<std::string>& parts) {
  try {
    call();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

DeviceSpec device(std::string_view name) { return find_device(name); }

TEST(DeviceCatalog, HoldsTheElevenDevicesInOrder) {
  std::vector<std::string> names;
  for (const DeviceSpec& d : device_catalog()) names.push_back(d.name);
  EXPECT_THAT(names, ElementsAre("a100-40", "a100-80", "h100-sxm", "h100-pcie", "h200", "b200", "l40s", "l4", "rtx4090",
                                 "a10g", "rtx5090"));
}

TEST(DeviceCatalog, GivesEveryNumberASourceAndALegalValue) {
  for (const DeviceSpec& d : device_catalog()) {
    EXPECT_FALSE(d.label.empty());
    EXPECT_EQ(d.provenance.size(), device_fields().size()) << d.name;
    for (const DeviceField& field : device_fields()) {
      const auto found = d.provenance.find(field.name);
      ASSERT_NE(found, d.provenance.end()) << d.name << " " << field.name;
      EXPECT_GT(found->second.source.size(), 5U) << d.name << " " << field.name;
      EXPECT_NE(found->second.origin, Origin::overridden) << d.name << " " << field.name;
      EXPECT_GE(d.*field.member, field.low) << d.name << " " << field.name;
      EXPECT_LE(d.*field.member, field.high) << d.name << " " << field.name;
    }
    // A smaller cost under a cheaper name would be a typing error.
    EXPECT_LE(d.launch_graph_us, d.launch_stream_us) << d.name;
    EXPECT_LE(d.launch_pdl_us, d.launch_graph_us) << d.name;
    EXPECT_GT(d.l2_bytes_per_us(), d.hbm_achievable_bytes_per_us()) << d.name;
  }
}

TEST(DeviceCatalog, TableNamesEachFieldOnce) {
  std::set<std::string_view> names;
  for (const DeviceField& field : device_fields()) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_LT(field.low, field.high);
    EXPECT_FALSE(field.meaning.empty());
  }
  // A member that the table forgets would be neither read nor hashed.
  constexpr std::size_t kOther = 2 * sizeof(std::string) + sizeof(DeviceSpec::calibrated) +
                                 sizeof(DeviceSpec::provenance) + sizeof(DeviceSpec::intervals);
  EXPECT_EQ(names.size() * sizeof(double) + kOther, sizeof(DeviceSpec));
}

TEST(DeviceCatalog, AgreesWithVendorFigures) {
  struct Row {
    const char* name;
    double sms, gbps, l2, tensor_tflops;
  };
  // Dense 16-bit tensor peaks of the data sheets, in TFLOP/s, at this model's clock.
  for (const Row& row :
       {Row{"a100-40", 108, 1555, 40, 312}, Row{"a100-80", 108, 2039, 40, 312}, Row{"h100-sxm", 132, 3350, 50, 989},
        Row{"h200", 132, 4800, 60, 989}, Row{"l40s", 142, 864, 96, 362}, Row{"l4", 58, 300, 48, 121},
        Row{"rtx4090", 128, 1008, 72, 165}, Row{"a10g", 80, 600, 6, 70}, Row{"rtx5090", 170, 1792, 96, 209}}) {
    const DeviceSpec d = device(row.name);
    EXPECT_EQ(d.sms, row.sms);
    EXPECT_EQ(d.hbm_gbps, row.gbps);
    EXPECT_EQ(d.l2_mib, row.l2);
    const double peak = std::max(d.mma_flop_per_clk, d.wgmma_flop_per_clk) * d.sms * d.clock_ghz * 1e-3;
    EXPECT_NEAR(peak / row.tensor_tflops, 1.0, 0.03) << row.name << " " << peak;
  }
}

TEST(DeviceCatalog, AgreesWithMeasuredFigures) {
  EXPECT_NEAR(device("a100-80").hbm_achievable_bytes_per_us(), 1776e3, 2e3);
  EXPECT_NEAR(device("h100-sxm").hbm_achievable_bytes_per_us(), 3000e3, 5e3);
  EXPECT_NEAR(device("h200").hbm_achievable_bytes_per_us(), 4300e3, 5e3);
  EXPECT_NEAR(device("a100-80").l2_bytes_per_us(), 5.40e6, 0.01e6);
  EXPECT_NEAR(device("h100-pcie").l2_bytes_per_us(), 6.99e6, 0.01e6);
  EXPECT_EQ(device("a100-80").hbm_latency_ns, 689);
  EXPECT_EQ(device("h100-sxm").hbm_latency_ns, 561);
  EXPECT_EQ(device("l40s").hbm_latency_ns, 455);
  EXPECT_EQ(device("h100-sxm").provenance.at("hbm_ramp_exponent").origin, Origin::assumed);
  EXPECT_EQ(device("a100-80").provenance.at("l2_knee_mib").origin, Origin::measured);
}

/// Cycles of one SM's fair share of memory for the 512 bytes of a 16-bit token of 128 + 128 dims.
double memory_cycles_per_token(const DeviceSpec& d) {
  return 512 * d.sms * d.clocks_per_us() / d.hbm_achievable_bytes_per_us();
}

TEST(DeviceCatalog, GivesTheKnownCyclesPerToken) {
  struct Row {
    const char* name;
    double cycles;
  };
  for (const Row& row :
       {Row{"a100-80", 44}, Row{"h100-pcie", 51}, Row{"h100-sxm", 40}, Row{"h200", 28}, Row{"rtx4090", 178},
        Row{"l40s", 217}, Row{"l4", 219}, Row{"a10g", 128}, Row{"rtx5090", 128}, Row{"b200", 19}}) {
    EXPECT_NEAR(memory_cycles_per_token(device(row.name)) / row.cycles, 1.0, 0.1) << row.name;
  }
}

TEST(DeviceCatalog, IsEmbeddedUnchanged) {
  const std::string folder = std::string(ESPALIER_SOURCE_DIR) + "/costmodel/data/";
  EXPECT_EQ(core::read_file(folder + "devices.json"), devices_json);
  EXPECT_EQ(core::read_file(folder + "kernels.json"), kernels_json);
}

TEST(FindDevice, AppliesOverridesAndNamesThem) {
  const DeviceSpec d = device("h100-sxm:hbm_gbps=5000,sms=264");
  EXPECT_EQ(d.hbm_gbps, 5000);
  EXPECT_EQ(d.sms, 264);
  EXPECT_EQ(d.clock_ghz, device("h100-sxm").clock_ghz);
  EXPECT_EQ(d.name, "h100-sxm:hbm_gbps=5000,sms=264");
  EXPECT_EQ(d.provenance.at("hbm_gbps").origin, Origin::overridden);
  EXPECT_EQ(d.provenance.at("clock_ghz").origin, Origin::datasheet);
  EXPECT_EQ(device_hash(device(d.name)), device_hash(d));
}

TEST(FindDevice, SaysWhatIsWrongWithASpec) {
  expect_error([] { find_device("h100-sxn"); }, ErrorKind::usage, {"h100-sxn", "h100-sxm"});
  expect_error([] { find_named_device("no/such/card.json:sms=3", "plan.json"); }, ErrorKind::bad_input,
               {"plan.json", "--device", "no/such/card.json"});
  expect_error([] { find_named_device("host", "plan.json"); }, ErrorKind::bad_input,
               {"plan.json", "--device", "'host'"});
  EXPECT_EQ(find_named_device("h100-sxm:sms=100", "plan.json").sms, 100);
  expect_error([] { find_device("a-gpu-of-another-planet"); }, ErrorKind::usage, {"a100-40", "rtx5090"});
  expect_error([] { find_device("h200:hbm_gbp=1"); }, ErrorKind::usage, {"device h200", "hbm_gbp'", "hbm_gbps"});
  expect_error([] { find_device("h200:cta_start_ns=-1"); }, ErrorKind::bad_input,
               {"cta_start_ns", "a number from 0 to 1000000 ns, got -1"});
  expect_error([] { find_device("h200:cta_end_ns=-1"); }, ErrorKind::bad_input,
               {"cta_end_ns", "a number from 0 to 1000000 ns, got -1"});
  expect_error([] { find_device("h200:fp8_rate_factor=-1"); }, ErrorKind::bad_input, {"a number from 0 to 16, got -1"});
  expect_error([] { find_device("h200:hbm_gbps"); }, ErrorKind::usage, {"field=value", "hbm_gbps"});
  expect_error([] { find_device("h200:"); }, ErrorKind::usage, {"field=value"});
  expect_error([] { find_device("h200:sms=4,sms=5"); }, ErrorKind::usage, {"sms", "twice"});
  expect_error([] { find_device("h200:sms=x"); }, ErrorKind::bad_input, {"device h200: sms", "a number", "\"x\""});
  expect_error([] { find_device("h200:sms=0"); }, ErrorKind::bad_input, {"device h200: sms", "1 to 4096", "got 0"});
  expect_error([] { find_device("h200:sms=1.5"); }, ErrorKind::bad_input, {"whole number", "got 1.5"});
  expect_error([] { find_device("h200:sms=nan"); }, ErrorKind::bad_input, {"sms"});
  expect_error([] { find_device("h200:hbm_read_fraction=1.01"); }, ErrorKind::bad_input, {"hbm_read_fraction"});
  expect_error([] { find_device("h200:smem_kib_per_sm=64"); }, ErrorKind::bad_input, {"smem_kib_per_cta", "64", "227"});
  expect_error([] { find_device("no:such.json:sms=4"); }, ErrorKind::bad_input, {"no:such.json"});
  expect_error([] { find_device("no/such.json"); }, ErrorKind::bad_input, {"no/such.json"});
}

class DeviceFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("espalier-device-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_ / "a:b");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST(FindDevice, RefusesNumbersThatCannotStandTogether) {
  // Each is within its own range.
  expect_error([] { find_device("h100-sxm:hbm_gbps=12000"); }, ErrorKind::bad_input,
               {"L2 can't be slower than HBM", "9150", "10752"});
  expect_error([] { find_device("h100-sxm:l2_bytes_per_clk=1500"); }, ErrorKind::bad_input,
               {"L2 can't be slower", "2745", "3001.6"});
  expect_error([] { find_device("h100-sxm:l2_latency_ns=900"); }, ErrorKind::bad_input,
               {"l2_latency_ns", "hbm_latency_ns", "900"});
  expect_error([] { find_device("h100-sxm:l2_mib=60000,hbm_gib=16"); }, ErrorKind::bad_input, {"l2_mib", "hbm_gib"});
  expect_error([] { find_device("h100-sxm:l2_knee_mib=400"); }, ErrorKind::bad_input, {"l2_knee_mib", "l2_mib", "400"});
  expect_error([] { find_device("h100-sxm:l2_bytes_per_clk=2000,sm_port_bytes_per_clk=3000"); }, ErrorKind::bad_input,
               {"sm_port_bytes_per_clk", "l2_bytes_per_clk", "3000"});
  expect_error([] { find_device("h100-sxm:sms=0"); }, ErrorKind::bad_input, {"sms", "whole number from 1"});
  expect_error([] { find_device("h100-sxm:hbm_gbps=-5"); }, ErrorKind::bad_input, {"hbm_gbps", "-5"});
  expect_error([] { find_device("h100-sxm:clock_ghz=nan"); }, ErrorKind::bad_input, {"clock_ghz", "nan"});
  const std::string file = R"({"schema": "device/1", "name": "odd", "base": "h200", "l2_bytes_per_clk": 2000})";
  expect_error([&] { read_device(file, "odd.json"); }, ErrorKind::bad_input,
               {"odd.json", "L2 can't be slower than HBM", "3660", "4300.8"});
  for (const DeviceSpec& device : device_catalog()) {
    EXPECT_NO_THROW(read_device(write_device(device), device.name)) << device.name;
  }
}

TEST_F(DeviceFile, IsReadByPathWithOverridesBehindIt) {
  const std::string path = folder_ / "a:b" / "mine.json";
  core::write_file(path, write_device(device("l4")));
  EXPECT_EQ(device_hash(device(path)), device_hash(device("l4")));
  const DeviceSpec changed = device(path + ":sms=60");
  EXPECT_EQ(changed.sms, 60);
  EXPECT_EQ(changed.name, "l4:sms=60");
  const std::string bare = folder_ / "a:b" / "mine";
  core::write_file(bare, write_device(device("l4")));
  EXPECT_EQ(device(bare + ":sms=60").sms, 60);
}

TEST(ReadDevice, ReturnsWhatWasWritten) {
  for (const DeviceSpec& d : device_catalog()) {
    const std::string text = write_device(d);
    const DeviceSpec back = read_device(text, "d.json");
    EXPECT_EQ(back.label, d.label);
    EXPECT_EQ(device_hash(back), device_hash(d));
    EXPECT_EQ(write_device(back), text);
  }
  const DeviceSpec changed = device("h200:sms=7");
  EXPECT_EQ(read_device(write_device(changed), "d.json").provenance.at("sms").origin, Origin::overridden);
}

TEST(ReadDevice, TakesTheRestFromItsBase) {
  const DeviceSpec d = read_device(
      R"({"schema": "device/1", "name": "h300", "base": "h200", "hbm_gbps": 9000, "x_note": 1,
          "l2_mib": {"value": 100, "origin": "measured", "source": "a test"}})",
      "d.json");
  EXPECT_EQ(d.name, "h300");
  EXPECT_EQ(d.label, "h300");
  EXPECT_EQ(d.hbm_gbps, 9000);
  EXPECT_EQ(d.provenance.at("hbm_gbps").origin, Origin::assumed);
  EXPECT_EQ(d.provenance.at("l2_mib").source, "a test");
  EXPECT_EQ(d.sms, 132);
  EXPECT_EQ(d.provenance.at("sms").origin, Origin::datasheet);
}

TEST(ReadDevice, TakesFilesFromBeforePagesAndRowsHadACost) {
  for (const std::string field : {"page_ns", "row_ns"}) {
    std::string text = write_device(device("h200"));
    const std::size_t begin = text.find('"' + field + '"'), end = text.find('}', begin) + 1;
    ASSERT_NE(begin, std::string::npos);
    text.erase(text.rfind(',', begin), end - text.rfind(',', begin));
    const DeviceSpec read = read_device(text, "d.json");
    EXPECT_EQ(read.provenance.at(field).source, "not in the file");
    EXPECT_EQ(read.provenance.at(field).origin, Origin::assumed);
    EXPECT_EQ(device_hash(read), device_hash(device("h200")));
  }
  // Nor do they change what was made for a device, unless they cost something.
  const DeviceSpec h200 = device("h200");
  core::Hasher before;
  before.text(h200.name);
  for (const DeviceField& field : device_fields()) {
    if (field.name == "page_ns" || field.name == "row_ns") continue;
    before.text(field.name);
    before.value(h200.*field.member);
  }
  EXPECT_EQ(device_hash(h200), before.digest());
  DeviceSpec dear = h200;
  dear.row_ns = 1;
  EXPECT_NE(device_hash(dear), device_hash(h200));
}

TEST(ReadDevice, NamesThePathOfWhatIsWrong) {
  const auto fails = [](const std::string& body, const std::vector<std::string>& parts) {
    const std::string text = R"({"schema": "device/1", "name": "d", "base": "h200", )" + body + "}";
    expect_error([&] { read_device(text, "d.json"); }, ErrorKind::bad_input, parts);
  };
  fails(R"("hbm_gbp": 1)", {"d.json: hbm_gbp:", "did you mean 'hbm_gbps'"});
  fails(R"("sms": 1.5)", {"d.json", "sms", "whole number"});
  fails(R"("sms": -1)", {"sms", "1 to 4096", "-1"});
  fails(R"("sms": "many")", {"d.json", "sms"});
  fails(R"("sms": {"value": 1, "origin": "guess", "source": "s"})", {"sms", "origin", "guess"});
  fails(R"("sms": {"value": 1, "origin": "measured", "source": ""})", {"sms", "source"});
  fails(R"("sms": {"value": 1, "origin": "measured"})", {"sms", "source"});
  fails(R"("sms": {"value": 5000, "origin": "measured", "source": "s"})", {"sms", "value", "5000"});
  expect_error([] { read_device(R"({"schema": "device/1", "name": "d", "sms": 4})", "d.json"); }, ErrorKind::bad_input,
               {"d.json", "base", "compute_capability, clock_ghz", "cta_end_ns"});
  expect_error([] { read_device(R"({"schema": "device/1", "name": "d", "base": "h9"})", "d.json"); },
               ErrorKind::bad_input, {"d.json", "base", "h9"});
  expect_error([] { read_device(R"({"schema": "device/2", "name": "d"})", "d.json"); }, ErrorKind::bad_input,
               {"device/1"});
  expect_error([] { read_device("{", "d.json"); }, ErrorKind::bad_input, {"d.json"});
}

TEST(DeviceHash, ChangesWithEveryField) {
  std::set<std::uint64_t> hashes = {device_hash(device("h200"))};
  for (const DeviceField& field : device_fields()) {
    DeviceSpec d = device("h200");
    d.*field.member += field.whole ? 1.0 : 1e-9 * (1 + d.*field.member);
    EXPECT_TRUE(hashes.insert(device_hash(d)).second) << field.name;
  }
  DeviceSpec renamed = device("h200");
  renamed.name += "x";
  EXPECT_TRUE(hashes.insert(device_hash(renamed)).second);
  DeviceSpec relabelled = device("h200");
  relabelled.label += "x";
  relabelled.provenance.at("sms").source = "elsewhere";
  EXPECT_TRUE(hashes.contains(device_hash(relabelled)));
}

TEST(DeviceOverride, MovesTheKneeAlongWithTheL2) {
  const DeviceSpec base = find_device("h100-sxm");
  EXPECT_NEAR(find_device("h100-sxm:l2_mib=100").l2_knee_mib, 2 * base.l2_knee_mib, 1e-9);
  EXPECT_EQ(find_device("h100-sxm:l2_mib=100,l2_knee_mib=60").l2_knee_mib, 60);
}

TEST(ReadDevice, KeepsTheIntervalsOfPlansThatRan) {
  DeviceSpec spec = device("l4");
  const std::uint64_t hash = device_hash(spec);
  EXPECT_EQ(write_device(spec).find("intervals"), std::string::npos);
  spec.intervals = {{"hbm", {0.0625, 24}}, {"all", {0.5, 31}}};
  spec.calibrated = {"a card", "570.1", "0123"};
  const DeviceSpec back = read_device(write_device(spec), "card.json");
  ASSERT_EQ(back.intervals.size(), 2U);
  EXPECT_EQ(back.intervals.at("hbm").log_half_width, 0.0625);
  EXPECT_EQ(back.intervals.at("all").plans, 31);
  EXPECT_EQ(back.calibrated, spec.calibrated);
  EXPECT_EQ(write_device(back), write_device(spec));
  EXPECT_EQ(device_hash(back), hash) << "the device is the same one";
  for (const char* bad :
       {R"({"hbm": {"log_half_width": 0, "plans": 9}})", R"({"hbm": {"log_half_width": -0.1, "plans": 9}})",
        R"({"hbm": {"log_half_width": 4, "plans": 9}})", R"({"hbm": {"log_half_width": 0.1, "plans": 0}})",
        R"({"hbm": {"log_half_width": 0.1}})", R"({"dram": {"log_half_width": 0.1, "plans": 9}})", R"([0.1])"}) {
    const std::string text =
        std::string(R"({"schema": "device/1", "name": "x", "base": "l4", "intervals": )") + bad + "}";
    EXPECT_THROW(read_device(text, "card.json"), core::Error) << bad;
  }
}

}  // namespace
}  // namespace espalier::costmodel
