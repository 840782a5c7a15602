"""What an auto pool is made of: the whole of the service's pool specification.

Names and types are those of the REST API (``learn.microsoft.com/rest/api/batchservice``, "Job - Add", version
2025-06-01: ``BatchPoolSpecification``). Most jobs name an existing pool and need nothing of this.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_jobmanager.batch.fields import choice, duration, flag, free, integer, many, one, text
from airflow_provider_jobmanager.batch.job_manager_task import (
    ApplicationPackageReference,
    BatchNodeIdentityReference,
    ContainerRegistryReference,
    EnvironmentSetting,
    ResourceFile,
    TaskContainerSettings,
    UserIdentity,
)
from airflow_provider_jobmanager.batch.model import Model

_MINUTE = 60
_DAY = 86_400


class MetadataItem(Model):
    """A name and a value that the service keeps and does not look at."""

    name: Any = text(required=True)
    value: Any = text(required=True, empty=True, json=True)


# Virtual machines


class ImageReference(Model):
    """An image: of the marketplace, of one's own, or of a gallery. Exactly one kind."""

    publisher: Any = text(empty=False)
    offer: Any = text(empty=False)
    sku: Any = text(empty=False)
    version: Any = text()  # latest
    virtual_machine_image_id: Any = text(empty=False)
    exact_version: Any = text(readonly=True)
    shared_gallery_image_id: Any = text(empty=False)
    community_gallery_image_id: Any = text(empty=False)


class WindowsConfiguration(Model):
    """Windows settings of the nodes."""

    enable_automatic_updates: Any = flag()


class DiskEncryptionSetParameters(Model):
    """A disk encryption set, by its ARM resource id."""

    id: Any = text()


class VmDiskSecurityProfile(Model):
    """Security of a managed disk."""

    security_encryption_type: Any = choice("DiskWithVMGuestState", "NonPersistedTPM", "VMGuestStateOnly")


class ManagedDisk(Model):
    """A managed disk."""

    disk_encryption_set: Any = one(DiskEncryptionSetParameters)
    storage_account_type: Any = choice("standard_lrs", "premium_lrs", "standardssd_lrs")
    security_profile: Any = one(VmDiskSecurityProfile)


class DataDisk(Model):
    """A data disk of every node."""

    logical_unit_number: Any = integer(wire="lun", required=True, low=0, high=63)
    caching: Any = choice("none", "readonly", "readwrite")
    disk_size_gb: Any = integer(wire="diskSizeGB", required=True, low=1)
    managed_disk: Any = one(ManagedDisk)


class ContainerConfiguration(Model):
    """Makes a pool one for containers."""

    type: Any = choice("dockerCompatible", "criCompatible", required=True)
    container_image_names: Any = text(many=True)
    container_registries: Any = many(ContainerRegistryReference)


class PoolIdentityReference(Model):
    """An identity, by its ARM resource id."""

    resource_id: Any = text()


class DiskCustomerManagedKey(Model):
    """A key of one's own to encrypt disks with."""

    identity_reference: Any = one(PoolIdentityReference)
    key_url: Any = text()
    rotation_to_latest_key_version_enabled: Any = flag()


class DiskEncryptionConfiguration(Model):
    """Which disks are encrypted, and how."""

    customer_managed_key: Any = one(DiskCustomerManagedKey)
    targets: Any = choice("osdisk", "temporarydisk", many=True)


class NodePlacementConfiguration(Model):
    """How nodes spread over a region."""

    policy: Any = choice("regional", "zonal")


class VMExtension(Model):
    """An extension of the virtual machines."""

    name: Any = text(required=True)
    publisher: Any = text(required=True)
    type: Any = text(required=True)
    type_handler_version: Any = text()
    auto_upgrade_minor_version: Any = flag()
    enable_automatic_upgrade: Any = flag()
    settings: Any = free()
    protected_settings: Any = free(private=True)
    provision_after_extensions: Any = text(many=True)


class DiffDiskSettings(Model):
    """Where an ephemeral operating system disk lies."""

    placement: Any = choice("cachedisk")


class OSDisk(Model):
    """The operating system disk."""

    ephemeral_os_disk_settings: Any = one(DiffDiskSettings, wire="ephemeralOSDiskSettings")
    caching: Any = choice("none", "readonly", "readwrite")
    disk_size_gb: Any = integer(wire="diskSizeGB", low=1)
    managed_disk: Any = one(ManagedDisk)
    write_accelerator_enabled: Any = flag()


class HostEndpointSettings(Model):
    """Settings of one endpoint of the proxy agent."""

    in_vm_access_control_profile_reference_id: Any = text(wire="inVMAccessControlProfileReferenceId")
    mode: Any = choice("Audit", "Enforce")


class ProxyAgentSettings(Model):
    """The metadata security protocol of the nodes."""

    enabled: Any = flag()
    imds: Any = one(HostEndpointSettings)
    wire_server: Any = one(HostEndpointSettings)


class UefiSettings(Model):
    """Secure boot and virtual TPM."""

    secure_boot_enabled: Any = flag()
    vtpm_enabled: Any = flag(wire="vTpmEnabled")


class SecurityProfile(Model):
    """Security of the virtual machines."""

    encryption_at_host: Any = flag()
    proxy_agent_settings: Any = one(ProxyAgentSettings)
    security_type: Any = choice("trustedLaunch", "confidentialvm")
    uefi_settings: Any = one(UefiSettings)


class ServiceArtifactReference(Model):
    """A service artifact, by its ARM resource id."""

    id: Any = text(required=True)


class VirtualMachineConfiguration(Model):
    """What the nodes are."""

    image_reference: Any = one(ImageReference, required=True)
    node_agent_sku_id: Any = text(wire="nodeAgentSKUId", required=True)
    windows_configuration: Any = one(WindowsConfiguration)
    data_disks: Any = many(DataDisk)
    license_type: Any = text()
    container_configuration: Any = one(ContainerConfiguration)
    disk_encryption_configuration: Any = one(DiskEncryptionConfiguration)
    node_placement_configuration: Any = one(NodePlacementConfiguration)
    extensions: Any = many(VMExtension)
    os_disk: Any = one(OSDisk)
    security_profile: Any = one(SecurityProfile)
    service_artifact_reference: Any = one(ServiceArtifactReference)


# Network


class NetworkSecurityGroupRule(Model):
    """Who may reach a port."""

    priority: Any = integer(required=True, low=150, high=4096)
    access: Any = choice("allow", "deny", required=True)
    source_address_prefix: Any = text(required=True)
    source_port_ranges: Any = text(many=True)


class InboundNatPool(Model):
    """A port of the nodes that can be reached from outside."""

    name: Any = text(required=True, longest=77)
    protocol: Any = choice("tcp", "udp", required=True)
    backend_port: Any = integer(required=True, low=1, high=65_535)
    frontend_port_range_start: Any = integer(required=True, low=1, high=65_534)
    frontend_port_range_end: Any = integer(required=True, low=1, high=65_534)
    network_security_group_rules: Any = many(NetworkSecurityGroupRule)


class PoolEndpointConfiguration(Model):
    """Ports that can be reached from outside."""

    inbound_nat_pools: Any = many(InboundNatPool, wire="inboundNATPools", required=True)


class IPTag(Model):
    """A tag of the public IP addresses."""

    ip_tag_type: Any = text()
    tag: Any = text()


class PublicIPAddressConfiguration(Model):
    """Public addresses of the nodes."""

    ip_address_provisioning_type: Any = choice("batchmanaged", "usermanaged", "nopublicipaddresses", wire="provision")
    ip_families: Any = choice("IPv4", "IPv6", many=True)
    ip_address_ids: Any = text(many=True)
    ip_tags: Any = many(IPTag)


class NetworkConfiguration(Model):
    """Network of a pool."""

    subnet_id: Any = text()
    dynamic_vnet_assignment_scope: Any = choice("none", "job", wire="dynamicVNetAssignmentScope")
    endpoint_configuration: Any = one(PoolEndpointConfiguration)
    public_ip_address_configuration: Any = one(PublicIPAddressConfiguration, wire="publicIPAddressConfiguration")
    enable_accelerated_networking: Any = flag()


# Users and file systems


class LinuxUserConfiguration(Model):
    """A user on Linux nodes. ``uid`` and ``gid`` are given both or not at all."""

    uid: Any = integer()
    gid: Any = integer()
    ssh_private_key: Any = text(private=True)


class WindowsUserConfiguration(Model):
    """A user on Windows nodes."""

    login_mode: Any = choice("batch", "interactive")


class UserAccount(Model):
    """A user on every node."""

    name: Any = text(required=True, longest=20)
    password: Any = text(required=True, private=True)
    elevation_level: Any = choice("nonadmin", "admin")
    linux_user_configuration: Any = one(LinuxUserConfiguration)
    windows_user_configuration: Any = one(WindowsUserConfiguration)


class AzureBlobFileSystemConfiguration(Model):
    """A blob container, mounted. Exactly one of ``account_key``, ``sas_key`` and ``identity_reference``."""

    account_name: Any = text(required=True)
    container_name: Any = text(required=True)
    account_key: Any = text(private=True, empty=False)
    sas_key: Any = text(private=True, empty=False)
    blobfuse_options: Any = text(private=True)
    relative_mount_path: Any = text(required=True)
    identity_reference: Any = one(BatchNodeIdentityReference)


class NfsMountConfiguration(Model):
    """An NFS file system, mounted."""

    source: Any = text(required=True)
    relative_mount_path: Any = text(required=True)
    mount_options: Any = text(private=True)


class CifsMountConfiguration(Model):
    """A CIFS file system, mounted."""

    username: Any = text(required=True)
    source: Any = text(required=True)
    relative_mount_path: Any = text(required=True)
    mount_options: Any = text(private=True)
    password: Any = text(required=True, private=True)


class AzureFileShareConfiguration(Model):
    """An Azure file share, mounted."""

    account_name: Any = text(required=True)
    account_key: Any = text(required=True, private=True)
    azure_file_url: Any = text(required=True)
    relative_mount_path: Any = text(required=True)
    mount_options: Any = text(private=True)


class MountConfiguration(Model):
    """A file system to mount on every node. Exactly one kind."""

    azure_blob_file_system_configuration: Any = one(AzureBlobFileSystemConfiguration)
    nfs_mount_configuration: Any = one(NfsMountConfiguration)
    cifs_mount_configuration: Any = one(CifsMountConfiguration)
    azure_file_share_configuration: Any = one(AzureFileShareConfiguration)


# Life of a pool


class TaskSchedulingPolicy(Model):
    """How tasks spread over nodes."""

    job_default_order: Any = choice("none", "creationtime")
    node_fill_type: Any = choice("spread", "pack", required=True)


class StartTask(Model):
    """A task that runs on each node as it joins."""

    command_line: Any = text(required=True, private=True, empty=True)
    container_settings: Any = one(TaskContainerSettings)
    resource_files: Any = many(ResourceFile)
    environment_settings: Any = many(EnvironmentSetting, named=True)
    user_identity: Any = one(UserIdentity)
    max_task_retry_count: Any = integer(low=-1)
    wait_for_success: Any = flag()


class AutomaticOSUpgradePolicy(Model):
    """How the operating system is upgraded."""

    disable_automatic_rollback: Any = flag()
    enable_automatic_os_upgrade: Any = flag(wire="enableAutomaticOSUpgrade")
    use_rolling_upgrade_policy: Any = flag()
    os_rolling_upgrade_deferral: Any = flag()


class RollingUpgradePolicy(Model):
    """How an upgrade goes from node to node."""

    enable_cross_zone_upgrade: Any = flag()
    max_batch_instance_percent: Any = integer(low=5, high=100)
    max_unhealthy_instance_percent: Any = integer(low=5, high=100)
    max_unhealthy_upgraded_instance_percent: Any = integer(low=0, high=100)
    pause_time_between_batches: Any = duration(low=0)
    prioritize_unhealthy_instances: Any = flag()
    rollback_failed_instances_on_policy_breach: Any = flag()


class UpgradePolicy(Model):
    """How nodes are upgraded."""

    mode: Any = choice("automatic", "manual", "rolling", required=True)
    automatic_os_upgrade_policy: Any = one(AutomaticOSUpgradePolicy, wire="automaticOSUpgradePolicy")
    rolling_upgrade_policy: Any = one(RollingUpgradePolicy)


class PoolSpecification(Model):
    """A pool to make."""

    display_name: Any = text(longest=1024)
    vm_size: Any = text(required=True)
    virtual_machine_configuration: Any = one(VirtualMachineConfiguration, required=True)
    task_slots_per_node: Any = integer(low=1, high=256)
    task_scheduling_policy: Any = one(TaskSchedulingPolicy)
    resize_timeout: Any = duration(low=5 * _MINUTE, high=7 * _DAY)
    target_dedicated_nodes: Any = integer(low=0)
    target_low_priority_nodes: Any = integer(low=0)
    enable_auto_scale: Any = flag()
    auto_scale_formula: Any = text()
    auto_scale_evaluation_interval: Any = duration(low=5 * _MINUTE, high=7 * _DAY)
    enable_inter_node_communication: Any = flag()
    network_configuration: Any = one(NetworkConfiguration)
    start_task: Any = one(StartTask)
    application_package_references: Any = many(ApplicationPackageReference, most=10)
    user_accounts: Any = many(UserAccount)
    metadata: Any = many(MetadataItem, named=True)
    mount_configuration: Any = many(MountConfiguration)
    upgrade_policy: Any = one(UpgradePolicy)
