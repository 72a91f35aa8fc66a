#include "faults.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "memory.h"
#include "schedule.h"

namespace stand_in {
namespace {

constexpr const char* variable = "FIRSTLIGHT_STAND_IN";

struct Fault {
    std::string call;
    long calls_left;
    Status status;
};

std::vector<Fault> faults;
Machine described;

bool plan_fault(const std::string& value) {
    std::istringstream parts(value);
    std::string call, nth, status;
    if (!getline(parts, call, ':') || !getline(parts, nth, ':') || !getline(parts, status)) return false;
    faults.push_back({call, atol(nth.c_str()), static_cast<Status>(atoi(status.c_str()))});
    return faults.back().calls_left > 0 && faults.back().status != SUCCESS;
}

bool apply_value(const std::string& key, const std::string& value) {
    if (key == "schedule") return set_schedule(value);
    if (key == "fail") return plan_fault(value);
    if (key == "journal") return keep_journal(value);
    char* end;
    unsigned long long number = strtoull(value.c_str(), &end, 10);
    if (value.empty() || *end) return false;
    if (key == "memory") set_device_bytes(number);
    else if (key == "devices") described.devices = number;
    else if (key == "driver") described.driver_version = number;
    else if (key == "architecture") described.architecture = number;
    else return false;
    return true;
}

}  // namespace

const Machine& machine() { return described; }

bool apply_setting(const std::string& setting) {
    size_t equals = setting.find('=');
    return equals != std::string::npos && apply_value(setting.substr(0, equals), setting.substr(equals + 1));
}

void apply_environment() {
    const char* settings = getenv(variable);
    if (!settings) return;
    std::istringstream parts(settings);
    for (std::string setting; getline(parts, setting, ',');) {
        if (apply_setting(setting)) continue;
        fprintf(stderr, "%s: `%s` is no setting of the stand-in for libcuda\n", variable, setting.c_str());
        exit(86);
    }
}

Status planned_fault(const char* call) {
    for (Fault& fault : faults) {
        if (fault.call == call && fault.calls_left > 0 && --fault.calls_left == 0) return fault.status;
    }
    return SUCCESS;
}

void forget_faults() {
    faults.clear();
    described = Machine();
}

}  // namespace stand_in
