import type { activity as english } from '../en/activity';
import type { InWords } from '../en';

/** Words of what has happened. */
export const activity: InWords<typeof english> = {
  'activity.title': '动态',
  'activity.open': '显示动态列表',
  'activity.close': '隐藏动态列表',
  'activity.now': '现在 · {{time}}',
  'activity.hour': '一小时前',
  'activity.empty': '还没有发生任何事。',
  'activity.older': '更早',
  'activity.timeline': '最近一小时',
  'activity.request': '请求 {{id}}',
  'activity.machine_added': '{{machine}} 加入了资源池',
  'activity.machine_removed': '{{machine}} 离开了资源池',
  'activity.machine_connected': '{{machine}} 已连接',
  'activity.machine_unreachable': '无法连接 {{machine}}',
  'activity.instance_created': '{{instance}} 已在 {{machine}} 上创建',
  'activity.instance_started': '{{instance}} 已开机',
  'activity.instance_ready': '{{instance}} 已就绪',
  'activity.instance_ready_in': '{{instance}} 已就绪，开机后用时 {{took}}',
  'activity.instance_stopped': '{{instance}} 已停止',
  'activity.instance_failed': '{{instance}} 失败',
  'activity.instance_deleted': '{{instance}} 已删除',
  'activity.command_refused': '一个请求被拒绝',
  'activity.someone': '某台机器',
  'activity.something': '某个实例',
};
